"""What a value was before a change: for rules that compare, and so that a value nobody touched is not judged anew.

Lists with keys find their items by key, other lists by place; sets and atomic lists are one value (KEP-4008: CRD
validation ratcheting). Source: k8s.io/apiserver pkg/cel/common/equality.go.
"""

from typing import Any

import msgspec

from clew.api.objects import Object
from clew.base.value import Value


class Before(Value):
    """`old` is the value of the same thing where that is known."""

    old: Any = None
    known: bool = False
    compared: bool = False  # whether rules may see it: items of lists without keys have a place, and no identity
    same: bool = False  # whether nothing of the value changed, or of what it is part of


NEW = Before()


def before(new: Any, old: Any) -> Before:
    """Of a whole object; `old` None for one that was not there."""
    return NEW if old is None else Before(old, known=True, compared=True, same=is_same(new, old))


def is_same(one: Any, other: Any) -> bool:
    """Equal as JSON: to Python, true and 1 are."""
    if type(one) is not type(other) or one != other:
        return False
    return not isinstance(one, dict | list) or _text(one) == _text(other)


def of_field(schema: Object, name: str, value: Any, whole: Before) -> Before:
    """Of a field of an object whose schema this is."""
    if not (whole.known and isinstance(whole.old, dict) and name in whole.old):
        return Before(same=whole.same)
    old = whole.old[name]
    compared = whole.compared and old is not None and schema.get("x-kubernetes-map-type") != "atomic"
    return Before(old, known=True, compared=compared, same=whole.same or is_same(value, old))


def of_item(schema: Object, item: Any, index: int, whole: Before) -> Before:
    """Of an item of a list whose schema this is."""
    kind = schema.get("x-kubernetes-list-type")
    if whole.known and isinstance(whole.old, list):
        if kind == "map" and isinstance(item, dict):
            keys = schema.get("x-kubernetes-list-map-keys") or []
            for old in whole.old:
                if isinstance(old, dict) and all(old.get(key) == item.get(key) for key in keys):
                    return Before(old, known=True, compared=whole.compared, same=whole.same or is_same(item, old))
        elif kind not in ("map", "set", "atomic") and index < len(whole.old):
            old = whole.old[index]
            return Before(old, known=True, same=whole.same or is_same(item, old))
    return Before(same=whole.same)


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")
