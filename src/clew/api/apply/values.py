"""Objects as sets of fields: what one names, where two differ, one laid over another, fields taken away.

The rules of merging are a shape's: structs and maps by field unless atomic, lists as one value unless they are a set or
a map by keys. Source: KEP-555; sigs.k8s.io/structured-merge-diff, typed.
"""

from typing import Any

import msgspec

from clew.api.apply.fields import FieldSet, Path, add, in_words, text
from clew.api.objects import clone
from clew.api.shapes import ANY, Shape

_ABSENT: Any = object()
_SELF = "."
_KEY_DEFAULTS = {"protocol": "TCP"}  # a port's key is complete without it


class MismatchError(ValueError):
    """An applied object that its kind's schema does not describe; the text says where and why."""


class Difference(msgspec.Struct):
    added: list[Path] = []
    modified: list[Path] = []
    removed: list[Path] = []


def item_key(shape: Shape, item: Any) -> str:
    """How an item of a list that is a set or a map is called; "" for one that lacks every key."""
    if shape.list_type == "set":
        return f"v:{text(item)}"
    if not isinstance(item, dict):
        return ""
    named = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in shape.keys}
    keys = {key: value for key, value in named.items() if value is not None}
    return f"k:{text(keys)}" if any(key in item for key in shape.keys) else ""


def _by_key(shape: Shape, items: Any) -> dict[str, Any]:
    """Items by their name; of several with the same name the last, as lists stand in for maps."""
    return {item_key(shape, item): item for item in items or ()}


def fields_of(shape: Shape, obj: Any) -> FieldSet:
    """The fields that an applied object names. MismatchError for a field that its kind does not have."""
    made: FieldSet = {}
    _collect(shape, obj, (), made)
    if made.get("f:metadata") == {}:
        del made["f:metadata"]  # an object without one would be no object
    return made


def _collect(shape: Shape, value: Any, path: Path, into: FieldSet) -> None:
    _check(shape, value, path)
    if isinstance(value, dict) and value and shape.form != "list" and not shape.is_atomic:
        for name, item in value.items():
            child = shape.child(name)
            place = (*path, f"f:{name}")
            if child is None:
                raise MismatchError(f"{_where(place)}: field not declared in schema")
            if shape.form != "struct" or item is None:
                add(into, place)
            _collect(child, item, place, into)
    elif isinstance(value, list) and shape.is_associative:
        _collect_items(shape, value, path, into)
    elif path:
        add(into, path)


def _collect_items(shape: Shape, items: list[Any], path: Path, into: FieldSet) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        key = item_key(shape, item)
        if not key:
            names = ", ".join(f'"{name}"' for name in shape.keys)
            raise MismatchError(
                f"{_where(path)}: element {index}: associative list with keys has an element that omits key field "
                f"{names} (and doesn't have default value)"
            )
        place = (*path, key)
        if key in seen:
            raise MismatchError(f"{_where(path)}: duplicate entries for key {_where((key,))}")
        seen.add(key)
        add(into, place)
        if isinstance(item, dict):
            _collect(shape.item or ANY, item, place, into)


_CLASSES: dict[str, tuple[type, ...]] = {
    "struct": (dict,), "map": (dict,), "list": (list,), "string": (str,), "boolean": (bool,), "integer": (int,),
    "int32": (int,), "number": (int, float), "int-or-string": (int, str), "quantity": (int, float, str),
    "time": (str,), "bytes": (str,),
}  # fmt: skip
_WORDS = {"struct": "map", "map": "map", "list": "list", "boolean": "boolean", "integer": "numeric", "int32": "numeric"}


def _check(shape: Shape, value: Any, path: Path) -> None:
    wanted = _CLASSES.get(shape.form)
    if wanted is None or value is None or isinstance(value, wanted):
        return
    given = text(value)
    word = _WORDS.get(shape.form, shape.form)
    raise MismatchError(f"{_where(path)}: expected {word}, got {given}")


def _where(path: Path) -> str:
    return in_words(path) or "."


def difference(shape: Shape, old: Any, new: Any) -> Difference:
    """Where two objects differ; containers that came or went are named beside what they hold."""
    made = Difference()
    _compare(shape, old, new, (), made)
    return made


def everything(shape: Shape, value: Any, seed: Any = _ABSENT) -> FieldSet:
    """The set of all that `value` holds and `seed` does not: their difference, for the frequent case of a new object.

    Containers are members beside what they hold, but for those that the seed has.
    """
    if not value or shape.is_atomic:
        return {}
    made: FieldSet = {_SELF: {}} if seed is _ABSENT else {}
    known: Any = seed if isinstance(seed, dict) else {}
    if value.__class__ is dict and shape.form not in {"list", "string"}:
        for name, item in value.items():
            if item.__class__ not in {dict, list}:
                made[f"f:{name}"] = {}
                continue
            below = everything(shape.child(name) or ANY, item, known.get(name, _ABSENT))
            if below or item != known.get(name, _ABSENT):
                made[f"f:{name}"] = below
    elif value.__class__ is list and shape.is_associative:
        inner = shape.item or ANY
        for item in value:
            made[item_key(shape, item)] = everything(inner, item)
    else:
        return {}
    return made


def _compare(shape: Shape, old: Any, new: Any, path: Path, out: Difference) -> None:
    if old is not _ABSENT and new is not _ABSENT and old == new:
        return
    if not _is_entered(shape, old, new):
        (out.added if old is _ABSENT else out.removed if new is _ABSENT else out.modified).append(path)
        return
    before, after = _children(shape, old), _children(shape, new)
    for key in [*before, *(key for key in after if key not in before)]:
        child = shape.child(key[2:]) if key.startswith("f:") else shape.item
        _compare(child or ANY, before.get(key, _ABSENT), after.get(key, _ABSENT), (*path, key), out)
    if old is _ABSENT:
        out.added.append(path)
    elif new is _ABSENT:
        out.removed.append(path)


def _is_entered(shape: Shape, old: Any, new: Any) -> bool:
    """Whether a difference is told by what lies inside; empty containers on both sides are values themselves."""
    present = [value for value in (old, new) if value is not _ABSENT and value is not None]
    if not any(present) or shape.is_atomic:
        return False
    if all(isinstance(value, dict) for value in present):
        return shape.form not in ("list", "string")
    return shape.is_associative and all(isinstance(value, list) for value in present)


def _children(shape: Shape, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"f:{name}": item for name, item in value.items()}
    if isinstance(value, list):
        return _by_key(shape, value)
    return {}


def merged(shape: Shape, live: Any, applied: Any) -> Any:
    """`applied` laid over `live`, which is changed in place; a null takes a field away."""
    if isinstance(applied, dict) and isinstance(live, dict) and not shape.is_atomic:
        for name, value in applied.items():
            child = shape.child(name) or ANY
            if value is None:
                live.pop(name, None)
            else:
                live[name] = merged(child, live[name], value) if name in live else without_nulls(value)
        return live
    if isinstance(applied, list) and isinstance(live, list) and shape.is_associative:
        return _merged_list(shape, live, applied)
    return without_nulls(applied)


def _merged_list(shape: Shape, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items in the applied order; one that only the live list has keeps its place after what stood before it."""
    wanted = _by_key(shape, applied)
    present = _by_key(shape, live)
    made: list[Any] = []
    queue = [(key, merged(shape.item or ANY, present[key], item) if key in present else without_nulls(item))
             for key, item in wanted.items()]  # fmt: skip
    done: set[str] = set()
    for item in live:
        key = item_key(shape, item)
        if key not in wanted:
            made.append(item)
            continue
        while queue and key not in done:
            done.add(queue[0][0])
            made.append(queue.pop(0)[1])
    return made + [item for _, item in queue]


def without_nulls(value: Any) -> Any:
    """A copy in which fields that are null are absent."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return clone(value)


def remove(shape: Shape, obj: Any, path: Path) -> None:
    """Take away what stands at a path, in place; nothing where it is not there."""
    *way, last = path
    for key in way:
        shape, obj = _step(shape, obj, key)
        if obj is _ABSENT:
            return
    if last.startswith("f:"):
        if isinstance(obj, dict):
            obj.pop(last[2:], None)
    elif isinstance(obj, list):
        obj[:] = [item for item in obj if item_key(shape, item) != last]


def _step(shape: Shape, value: Any, key: str) -> tuple[Shape, Any]:
    if key.startswith("f:"):
        name = key[2:]
        return shape.child(name) or ANY, value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT
    found = next((item for item in value if item_key(shape, item) == key), _ABSENT) if isinstance(value, list) else None
    return shape.item or ANY, _ABSENT if found is None else found
