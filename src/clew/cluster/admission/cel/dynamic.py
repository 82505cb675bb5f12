"""Calls that the checker cannot settle, found in what it has made of a rule.

The library's Python functions take lists of plain values. An optional, or a message that nobody made for Python, ends
the process when it is given to one inside a list (cel-expr-python 0.1.3). The checker sees to it that there is none,
but where it does not know a list's type: then a rule that could make such values is refused.
"""

import re

from clew.api.protobuf import wire
from clew.cluster.admission.cel.functions import FUNCTIONS

_MAKES_STRANGE_VALUES = re.compile(
    r"\boptional\.|[.\[{]\s*\?|\bopt(?:Flat)?Map\b|\b(?:google|net|kubernetes|schema)\s*\."
)
_OF_LISTS = tuple({f"k8s.{each.name}(" for each in FUNCTIONS if any(kind.startswith("list(") for kind in each.takes)})
_ANY_VALUE, _REFERENCES, _OF_ENTRY, _OVERLOADS = 2, 2, 2, 3  # fields of Any, cel.expr.CheckedExpr, its map, Reference


def is_dangerous(text: str, checked: bytes, *, knows_optionals: bool) -> bool:
    """Whether a rule might hand strange values to a function of lists; `checked` is the checker's own account of it."""
    return bool(knows_optionals or _MAKES_STRANGE_VALUES.search(text)) and _is_unsettled(checked)


def _is_unsettled(checked: bytes) -> bool:
    """Whether some function of lists is called with a list of unknown type: several of its overloads may be meant.

    A function that takes an item, too, settles on the item's type alone.
    """
    for field, expression in wire.fields(checked):
        if field != _ANY_VALUE:
            continue
        for number, entry in wire.fields(wire.as_bytes(expression)):
            meant = _overloads(wire.as_bytes(entry)) if number == _REFERENCES else []
            if len(meant) > 1 or any("," in name for name in meant):
                return True
    return False


def _overloads(entry: bytes) -> list[str]:
    """The overloads of a function of lists that a reference names."""
    references = [wire.as_bytes(value) for field, value in wire.fields(entry) if field == _OF_ENTRY]
    told = [
        wire.as_text(value)
        for reference in references
        for field, value in wire.fields(reference)
        if field == _OVERLOADS
    ]
    return [name for name in told if name.startswith(_OF_LISTS)]
