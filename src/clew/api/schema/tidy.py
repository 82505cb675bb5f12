"""Objects brought into the form in which Go's structs would give them back. Called before an object is stored."""

from collections.abc import Iterable
from typing import Any

from clew.api import shapes
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.api.quantity import QuantityError, canonical
from clew.api.shapes import Shape

_METADATA = Shape("struct", type=shapes.METADATA_TYPE)
_CUSTOM = Shape("struct", own_fields={"metadata": _METADATA}, is_open=True)


def drop_unknown(kind: Kind, obj: Object) -> None:
    """Remove fields that the kind does not have, in place; of a custom kind only from its metadata."""
    _drop(shapes.of_kind(kind) or _CUSTOM, obj)


def _drop(shape: Shape, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _drop(shape.item or shapes.ANY, item)
    elif isinstance(value, dict):
        for name in [name for name in value if shape.child(name) is None]:
            del value[name]
        for name, item in value.items():
            if isinstance(item, (dict, list)):
                _drop(shape.child(name) or shapes.ANY, item)


def tidy(kind: Kind, obj: Object) -> None:
    """A round through Go's structs, in place: nulls, unknown and empty fields go, quantities become canonical.

    A null in a list or a map has no place to go: it becomes what Go's type is without a value.
    """
    shape = shapes.of_kind(kind)
    if shape is not None:
        _tidy(shape, obj, is_root=True)
    elif "metadata" in obj:
        _tidy(_METADATA, obj["metadata"])  # a custom kind's own nulls are its schema's matter


def _tidy(shape: Shape, value: Any, *, is_root: bool = False) -> None:
    if value.__class__ is list:
        _tidy_items(shape.item or shapes.ANY, value, range(len(value)))
    elif shape.form == "map":
        _tidy_items(shape.item or shapes.ANY, value, list(value))
    elif shape.form == "struct":
        _tidy_fields(shape, value, is_root=is_root)  # free JSON keeps its nulls


def _tidy_items(shape: Shape, values: Any, places: Iterable[Any]) -> None:
    """The items of a list or a map, all of one shape."""
    for place in places:
        item = values[place]
        if item is None:
            values[place] = _zero(shape)
        elif shape.form == "quantity":
            values[place] = _canonical(item)
        elif item.__class__ in (dict, list):
            _tidy(shape, item)


def _tidy_fields(shape: Shape, value: Object, *, is_root: bool) -> None:
    fields = shape.fields
    for name, item in list(value.items()):
        inner = fields.get(name)
        if item is None or (inner is None and not shape.is_open):
            del value[name]
        elif inner is None:
            continue
        elif inner.form == "quantity":
            value[name] = _canonical(item)
        elif item.__class__ in (dict, list):
            _tidy(inner, item)
            # `omitempty`: an empty list or map is none. An object's own (rules, endpoints) have no such mark.
            if not item and not is_root and inner.form in ("map", "list") and not inner.required:
                del value[name]


_ZERO: dict[str, Any] = {
    "string": "", "bytes": "", "boolean": False, "integer": 0, "int32": 0, "number": 0, "quantity": "0",
    "int-or-string": 0,
}  # fmt: skip


def _zero(shape: Shape) -> Any:
    if shape.form in ("struct", "map"):
        return {}
    return [] if shape.form == "list" else _ZERO.get(shape.form)


def _canonical(value: Any) -> Any:
    try:
        return canonical(value)
    except QuantityError:
        return value  # decode_problems has refused it, or will
