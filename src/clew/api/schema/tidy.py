"""Objects brought into the form in which Go's structs would give them back. Called before an object is stored."""

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
    """A round through Go's structs, in place: nulls, unknown and empty fields go, quantities become canonical."""
    shape = shapes.of_kind(kind)
    if shape is not None:
        _tidy(shape, obj, is_root=True)
    elif "metadata" in obj:
        _tidy(_METADATA, obj["metadata"])  # a custom kind's own nulls are its schema's matter


def _tidy(shape: Shape, value: Any, *, is_root: bool = False) -> None:
    if value.__class__ is list:
        item_shape = shape.item or shapes.ANY
        for item in value:
            if item.__class__ in (dict, list):
                _tidy(item_shape, item)
        return
    fields = shape.fields if shape.form == "struct" else None
    if fields is None and shape.form != "map":
        return  # free JSON keeps its nulls
    for name, item in list(value.items()):
        if item is None:
            del value[name]
            continue
        inner = fields.get(name) if fields is not None else shape.item
        if inner is None:
            if fields is not None and not shape.is_open:
                del value[name]
            continue
        if inner.form == "quantity":
            value[name] = _canonical(item)
        elif item.__class__ in (dict, list):
            _tidy(inner, item)
            # `omitempty`: an empty list or map is none. An object's own (rules, endpoints) have no such mark.
            if not item and fields is not None and not is_root and inner.form in ("map", "list") and not inner.required:
                del value[name]


def _canonical(value: Any) -> Any:
    try:
        return canonical(value)
    except QuantityError:
        return value  # decode_problems has refused it, or will
