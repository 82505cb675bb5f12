"""The functions that Kubernetes adds to CEL: addresses, URLs, quantities, versions, formats, lists, texts.

One table a subject; `functions` puts them together. Each entry says a function's name, what it takes and gives by the
names of types, and does the work on plain values. Source: k8s.io/apiserver pkg/cel/functions.
"""

from clew.cluster.admission.cel.functions.addresses import ADDRESSES
from clew.cluster.admission.cel.functions.formats import FORMATS
from clew.cluster.admission.cel.functions.function import Function, OverBudgetError
from clew.cluster.admission.cel.functions.lists import LISTS
from clew.cluster.admission.cel.functions.quantities import QUANTITIES
from clew.cluster.admission.cel.functions.semver import VERSIONS
from clew.cluster.admission.cel.functions.texts import TEXTS
from clew.cluster.admission.cel.functions.urls import URLS

FUNCTIONS: tuple[Function, ...] = (*ADDRESSES, *URLS, *QUANTITIES, *VERSIONS, *FORMATS, *LISTS, *TEXTS)

__all__ = ["FUNCTIONS", "Function", "OverBudgetError"]
