"""The functions that Kubernetes adds to CEL: addresses, URLs, quantities, versions, formats, lists, texts.

One table a subject; `functions` puts them together. Each entry says a function's name, what it takes and gives by the
names of types, and does the work on plain values. Source: k8s.io/apiserver pkg/cel/library.
"""

from clew.cluster.admission.cel.library.addresses import ADDRESSES
from clew.cluster.admission.cel.library.formats import FORMATS
from clew.cluster.admission.cel.library.function import Function, OverBudgetError
from clew.cluster.admission.cel.library.lists import LISTS
from clew.cluster.admission.cel.library.quantities import QUANTITIES
from clew.cluster.admission.cel.library.semver import VERSIONS
from clew.cluster.admission.cel.library.texts import TEXTS
from clew.cluster.admission.cel.library.urls import URLS

FUNCTIONS: tuple[Function, ...] = (*ADDRESSES, *URLS, *QUANTITIES, *VERSIONS, *FORMATS, *LISTS, *TEXTS)

__all__ = ["FUNCTIONS", "Function", "OverBudgetError"]
