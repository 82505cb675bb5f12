"""Selectors as Calico's objects write them: `all()`, `has(gpu) && zone in {'a', 'b'}`. Parsed once, then a function.

Not the label selectors of Kubernetes (api/selectors.py), which have no `or` and no parentheses.
Source: Calico's reference of selectors (`nodeSelector` of an IPPool).
"""

import re
from collections.abc import Callable, Mapping

Labels = Mapping[str, str]
Matches = Callable[[Labels], bool]

_WORD = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>&&|\|\||==|!=|[!(){},])|(?P<word>[A-Za-z0-9][-A-Za-z0-9_./]*))"
)
_TWO = {"not": "in", "starts": "with", "ends": "with"}


class SelectorError(ValueError):
    """A selector that cannot be read; the text says what stands where it may not."""


def parse(selector: str) -> Matches:
    """Whether an object's labels match. SelectorError where it cannot be read."""
    words = _Words(selector)
    found = _either(words)
    if words.here:
        raise words.unexpected("&& or ||")
    return found


class _Words:
    """The words of a selector and a place among them."""

    def __init__(self, selector: str) -> None:
        self._selector = selector
        self._found: list[str] = []
        self._at = 0
        end = 0
        while selector[end:].strip():
            match = _WORD.match(selector, end)
            if match is None:
                raise SelectorError(f"{selector!r}: nothing known begins at {selector[end:].strip()[:20]!r}")
            self._found.append(match[0].strip())
            end = match.end()

    @property
    def here(self) -> str:
        """The word at this place; empty at the end."""
        return self._found[self._at] if self._at < len(self._found) else ""

    def take(self, *wanted: str) -> str:
        """The word here, one of `wanted`, and step on; empty where it is another."""
        if self.here not in wanted:
            return ""
        self._at += 1
        return self._found[self._at - 1]

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            raise self.unexpected(wanted)

    def any(self, what: str, *, text: bool) -> str:
        """Whatever stands here: a quoted text, without its quotes, or a name."""
        word = self.here
        quoted = word[:1] in {"'", '"'}
        if not word or quoted != text or not (quoted or word[0].isalnum()):
            raise self.unexpected(what)
        self._at += 1
        return word[1:-1] if quoted else word

    def unexpected(self, wanted: str) -> SelectorError:
        return SelectorError(f"{self._selector!r}: {wanted} is wanted where {self.here or 'the end'!r} stands")


def _either(words: _Words) -> Matches:
    parts = [_both(words)]
    while words.take("||"):
        parts.append(_both(words))
    return parts[0] if len(parts) == 1 else lambda labels: any(part(labels) for part in parts)


def _both(words: _Words) -> Matches:
    parts = [_single(words)]
    while words.take("&&"):
        parts.append(_single(words))
    return parts[0] if len(parts) == 1 else lambda labels: all(part(labels) for part in parts)


def _single(words: _Words) -> Matches:
    if words.take("!"):
        inner = _single(words)
        return lambda labels: not inner(labels)
    if words.take("("):
        found = _either(words)
        words.need(")")
        return found
    name = words.any("a label's name", text=False)
    if name in {"all", "global", "has"} and words.take("("):
        return _function(name, words)
    return _comparison(name, words)


def _function(name: str, words: _Words) -> Matches:
    if name == "has":
        key = words.any("a label's name", text=False)
        words.need(")")
        return lambda labels: key in labels
    words.need(")")
    return lambda _labels: name == "all"


def _comparison(key: str, words: _Words) -> Matches:
    operator = words.take("==", "!=", "in", "not", "contains", "starts", "ends")
    if not operator:
        raise words.unexpected("==, !=, in, not in, contains, starts with or ends with")
    if operator in _TWO:
        words.need(_TWO[operator])
    if operator in {"in", "not"}:
        values = _values(words)
        return lambda labels: (labels.get(key) in values) == (operator == "in")
    value = words.any("a text in quotes", text=True)
    match operator:
        case "==":
            return lambda labels: labels.get(key) == value
        case "!=":
            return lambda labels: labels.get(key) != value
        case "contains":
            return lambda labels: value in labels.get(key, "") if key in labels else False
        case "starts":
            return lambda labels: key in labels and labels[key].startswith(value)
    return lambda labels: key in labels and labels[key].endswith(value)


def _values(words: _Words) -> frozenset[str]:
    words.need("{")
    found = [words.any("a text in quotes", text=True)]
    while words.take(","):
        found.append(words.any("a text in quotes", text=True))
    words.need("}")
    return frozenset(found)
