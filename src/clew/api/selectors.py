"""Label and field selectors: parsed once, matched often. Called by lists, watches, controllers and the scheduler."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from clew.api.kinds import Kind
from clew.base.value import Value

Operator = Literal["=", "!=", "in", "notin", "exists", "!", ">", "<"]
_WORD = re.compile(r"\s*(?:(==|!=|=|!|\(|\)|,|<|>)|([^\s=!(),<>]+))")
_BINARY_OPERATORS: dict[str, Operator] = {"=": "=", "==": "=", "!=": "!=", "<": "<", ">": ">"}
_SET_OPERATORS: dict[str, Operator] = {"in": "in", "notin": "notin"}
_EXPRESSIONS: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}

LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class SelectorError(ValueError):
    """A selector that cannot be parsed; the text says what was found where."""


class Requirement(Value):
    """One term of a label selector. `=` and `!=` hold one value, `in` and `notin` several."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        try:
            number, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator == ">" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


class LabelSelector(Value):
    """All requirements must hold; none at all matches everything."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the query form, `a=b,c in (d,e),!f`. Raises SelectorError."""
        return cls(_Parser(text).requirements())

    @classmethod
    def from_object(cls, selector: Mapping[str, Any] | None) -> Self:
        """From a metav1.LabelSelector (`matchLabels`, `matchExpressions`); an empty one matches everything."""
        selector = selector or {}
        terms = [Requirement(key, "=", (value,)) for key, value in sorted((selector.get("matchLabels") or {}).items())]
        for term in selector.get("matchExpressions") or ():
            operator = _EXPRESSIONS.get(term.get("operator", ""))
            if operator is None:
                raise SelectorError(f'"{term.get("operator", "")}" is not a valid label selector operator')
            terms.append(Requirement(term.get("key", ""), operator, tuple(sorted(term.get("values") or ()))))
        return cls(tuple(terms))

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


class _Parser:
    """Recursive descent over the words of a label selector."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _WORD.match(stripped, position)
            if match is None:
                raise SelectorError(f"unable to parse requirement: unexpected {stripped[position:]!r}")
            self._words.append(match[1] or match[2])
            position = match.end()
        self._next = 0

    def requirements(self) -> tuple[Requirement, ...]:
        if not self._words:
            return ()
        found = [self._requirement()]
        while (word := self._take()) is not None:
            if word != ",":
                raise SelectorError(f"found '{word}', expected: ',' or 'end of string'")
            found.append(self._requirement())
        return tuple(found)

    def _take(self) -> str | None:
        word = self._peek()
        self._next += 1
        return word

    def _peek(self) -> str | None:
        return self._words[self._next] if self._next < len(self._words) else None

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            return Requirement(self._key(), "!")
        key = self._key()
        word = self._peek()
        if word is None or word == ",":
            return Requirement(key, "exists")
        self._take()
        if word in _SET_OPERATORS:
            return Requirement(key, _SET_OPERATORS[word], self._set())
        if word not in _BINARY_OPERATORS:
            raise SelectorError(
                f"unable to parse requirement: found '{word}', expected: in, notin, =, ==, !=, gt, lt or end"
            )
        return self._comparison(key, _BINARY_OPERATORS[word])

    def _comparison(self, key: str, operator: Operator) -> Requirement:
        value = self._peek()
        value = "" if value is None or value in (",", ")") else self._value()
        if operator in ("<", ">") and not re.fullmatch(r"-?[0-9]+", value):
            raise SelectorError(f"for 'Gt', 'Lt' operators, the value must be an integer: {value!r}")
        return Requirement(key, operator, (value,))

    def _key(self) -> str:
        key = self._take()
        if key is None or not valid_label_key(key):
            raise SelectorError(
                f"unable to parse requirement: key: Invalid value: {_quoted(key or '')}: name part must consist of "
                "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            )
        return key

    def _set(self) -> tuple[str, ...]:
        if (opening := self._take()) != "(":
            raise SelectorError(f"unable to parse requirement: found '{opening or ''}' expected: '('")
        values: set[str] = set()
        while True:
            values.add("" if self._peek() in (",", ")") else self._value())
            match self._take():
                case ")":
                    return tuple(sorted(values))
                case ",":
                    continue
                case word:
                    raise SelectorError(f"unable to parse requirement: found '{word or ''}', expected: ',' or ')'")

    def _value(self) -> str:
        value = self._take()
        if value is None or not valid_label_value(value):
            raise SelectorError(
                f"unable to parse requirement: values[0]: Invalid value: {_quoted(value or '')}: a valid label must be "
                "an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
                "an alphanumeric character"
            )
        return value


def valid_label_key(key: str) -> bool:
    """`name` or `prefix/name`."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (LABEL_PREFIX.fullmatch(prefix) and len(prefix) <= 253):
        return False
    return len(name) <= 63 and LABEL_NAME.fullmatch(name) is not None


def valid_label_value(value: str) -> bool:
    return not value or (len(value) <= 63 and LABEL_NAME.fullmatch(value) is not None)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class FieldTerm(Value):
    path: tuple[str, ...]
    value: str
    negated: bool = False

    @property
    def label(self) -> str:
        """The field as it was written: `spec.nodeName`."""
        return ".".join(self.path)


class FieldSelector(Value):
    """Equality of single fields. Which fields a kind offers, `unsupported` says."""

    terms: tuple[FieldTerm, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the query form, `metadata.name=x,status.phase!=Failed`. Raises SelectorError."""
        terms = []
        for part in re.split(r"(?<!\\),", text):
            if not part.strip():
                continue
            match = re.fullmatch(r"\s*([^=!]+?)\s*(!=|==|=)(.*)", part, re.DOTALL)
            if match is None:
                raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
            value = re.sub(r"\\([,=\\])", r"\1", match[3])
            terms.append(FieldTerm(tuple(match[1].split(".")), value, match[2] == "!="))
        return cls(tuple(terms))

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return all((_field(obj, term.path) == term.value) is not term.negated for term in self.terms)

    def unsupported(self, kind: Kind, extra: frozenset[str] = frozenset()) -> str | None:
        """The first field that a real server refuses for this kind, or None. `extra`: a CRD's selectableFields."""
        offered = _COMMON if not kind.namespaced else _COMMON | {"metadata.namespace"}
        offered |= _OFFERED.get((kind.group, kind.kind), frozenset()) | extra
        return next((term.label for term in self.terms if term.label not in offered), None)

    def exact(self, label: str) -> str | None:
        """The value that a field must have, where the selector pins it."""
        return next((term.value for term in self.terms if term.label == label and not term.negated), None)

    def __str__(self) -> str:
        return ",".join(f"{term.label}{'!=' if term.negated else '='}{term.value}" for term in self.terms)


_COMMON = frozenset({"metadata.name"})
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_OFFERED: dict[tuple[str, str], frozenset[str]] = {
    ("", "Pod"): frozenset({
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    }),
    ("", "Event"): frozenset({
        *(f"involvedObject.{field}" for field in _INVOLVED), "reason", "reportingComponent", "source", "type",
    }),
    ("events.k8s.io", "Event"): frozenset({
        *(f"regarding.{field}" for field in _INVOLVED), "reason", "reportingController", "type",
    }),
    ("", "Node"): frozenset({"spec.unschedulable"}),
    ("", "Namespace"): frozenset({"status.phase"}),
    ("", "Secret"): frozenset({"type"}),
    ("", "Service"): frozenset({"spec.clusterIP", "spec.type"}),
    ("apps", "ReplicaSet"): frozenset({"status.replicas"}),
}  # fmt: skip


def _field(obj: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """A field as the text a selector compares; absent booleans are false, as in Go."""
    value: Any = obj
    for name in path:
        if not isinstance(value, Mapping):
            return ""
        value = value.get(name)
    if path == ("source",):
        return str((value or {}).get("component") or obj.get("reportingComponent") or "")
    if value is None:
        return "false" if path in _BOOLEANS else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if path == ("status", "podIPs"):
        return ",".join(str(item.get("ip", "")) for item in value)
    return str(value)


_BOOLEANS = frozenset({("spec", "unschedulable"), ("spec", "hostNetwork")})
