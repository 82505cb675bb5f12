"""The part of Go's templates that Corefiles use.

They are fields (`{{ .Name }}`), groups (`{{ .Group.a }}`), `{{ index .Match 1 }}` and `{{ parseInt .Group.a 16 8 }}`.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from clew.base.value import Value

_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELDS = ("Zone", "Name", "Class", "Type", "Remote")


class Data(Value):
    """What a template may name."""

    fields: Mapping[str, str]
    match: Sequence[str]
    groups: Mapping[str, str]


Part = Callable[[Data], str]


def _operand(text: str) -> Part:
    """ValueError for what is not understood; better now than at the first question."""
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return lambda _data: text[1:-1]
    if text.startswith(".Group."):
        group = text.removeprefix(".Group.")
        return lambda data: data.groups.get(group) or ""
    if text.removeprefix(".") in _FIELDS and text.startswith("."):
        field = text[1:]
        return lambda data: data.fields[field]
    raise ValueError(
        f"template expression {text!r} is not understood; known are .{', .'.join(_FIELDS)}, .Group.NAME, "
        "index .Match N, parseInt X BASE BITS"
    )


def _expression(text: str) -> Part:
    words = text.replace("(", " ").replace(")", " ").split()
    if words[:2] == ["index", ".Match"] and len(words) == 3 and words[2].isdecimal():
        at = int(words[2])
        return lambda data: data.match[at] or ""
    if words[:2] == ["index", ".Group"] and len(words) == 3:
        return _operand(".Group." + words[2].strip('"'))
    if words[:1] == ["parseInt"] and len(words) in {3, 4} and words[2].isdecimal():
        inner, base = _operand(words[1]), int(words[2])
        return lambda data: str(int(inner(data), base))
    return _operand(text)


def compiled(text: str) -> Part:
    """A template as a function of its data; ValueError for an expression that is not understood."""
    parts: list[Part] = []
    at = 0
    for found in _EXPRESSION.finditer(text):
        literal = text[at : found.start()]
        parts += [lambda _data, literal=literal: literal, _expression(found.group(1))]  # type: ignore[misc]
        at = found.end()
    rest = text[at:]
    if "{{" in rest:
        raise ValueError("'{{' is never closed")
    return lambda data: "".join(part(data) for part in parts) + rest
