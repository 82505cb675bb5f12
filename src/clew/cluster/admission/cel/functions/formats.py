"""Formats by name: `format.dns1123Label().validate(self.name)` gives what is wrong, or nothing.

In Kubernetes `validate` and `format.named` give optionals. Functions of the library cannot give those, so they give
types of their own that answer as an optional does.
"""

from collections.abc import Callable

import msgspec

from clew.cluster.admission import names
from clew.cluster.admission.cel.functions.function import Function, member
from clew.cluster.admission.structural.formats import fits_format

_FORMAT, _MAYBE, _PROBLEMS = "kubernetes.NamedFormat", "kubernetes.NamedFormats", "kubernetes.FormatProblems"
_TEXT, _LIST, _BOOL = "string", "list(string)", "bool"
Rule = Callable[[str], list[str]]


def _prefix(rule: Rule) -> Rule:
    """A name that something is still to be appended to: it may end in a hyphen."""
    return lambda text: rule(f"{text[:-1]}a" if text.endswith("-") else text)


def _formal(name: str, sentence: str) -> Rule:
    return lambda text: [] if fits_format(name, text) else [sentence]


_RULES: dict[str, Rule] = {
    "dns1123Label": names.label,
    "dns1123Subdomain": names.subdomain,
    "dns1035Label": names.label_1035,
    "dns1123LabelPrefix": _prefix(names.label),
    "dns1123SubdomainPrefix": _prefix(names.subdomain),
    "dns1035LabelPrefix": _prefix(names.label_1035),
    "qualifiedName": names.qualified,
    "labelValue": names.label_value,
    "uri": _formal("uri", "invalid URI"),
    "uuid": _formal("uuid", "does not match the UUID format"),
    "byte": _formal("byte", "invalid base64"),
    "date": _formal("date", "invalid date"),
    "datetime": _formal("date-time", "invalid datetime"),
}


def _problems(name: str, text: str) -> str:
    return msgspec.json.encode(_RULES[name](text)).decode()


def _told(problems: str) -> list[str]:
    return msgspec.json.decode(problems, type=list[str])


def _value(problems: str) -> list[str]:
    if not _told(problems):
        raise ValueError("optional.none() dereference")
    return _told(problems)


def _named(maybe: str) -> str:
    if not maybe:
        raise ValueError("optional.none() dereference")
    return maybe


FORMATS = (
    *(Function(f"format.{name}", (), _FORMAT, lambda name=name: name) for name in _RULES),
    Function("format.named", (_TEXT,), _MAYBE, lambda name: name if name in _RULES else ""),
    member("validate", (_FORMAT, _TEXT), _PROBLEMS, _problems),
    member("hasValue", (_MAYBE,), _BOOL, bool),
    member("value", (_MAYBE,), _FORMAT, _named),
    member("hasValue", (_PROBLEMS,), _BOOL, lambda problems: bool(_told(problems))),
    member("value", (_PROBLEMS,), _LIST, _value),
)
