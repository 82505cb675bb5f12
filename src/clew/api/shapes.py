"""What the API says of its own objects: the fields of every type, how lists merge, what may be owned as a whole.

Read by the decoder's checks (schema), patches, server-side apply and the protobuf decoder. Built-in kinds come from the
data that hatch_build.py makes of Kubernetes' OpenAPI definitions, loaded on first use (2 ms); custom kinds bring the
schema of their CustomResourceDefinition (`of_schema`).
"""

import functools
import zlib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

import msgspec

from clew.api.kinds import Kind
from clew.base.value import Value

Form = Literal[
    "struct", "map", "list", "string", "boolean", "integer", "int32", "number",
    "int-or-string", "quantity", "time", "bytes", "any",
]  # fmt: skip


class Shape(Value):
    """One place of an object. `integer` is an int64; `any` is free JSON, of which nothing is known."""

    form: Form
    type: str = ""  # a struct's name among the built-in types, "" for one that brings its own fields
    own_fields: dict[str, "Shape"] | None = None
    item: "Shape | None" = None  # of a list or a map
    list_type: Literal["", "atomic", "set", "map"] = ""
    keys: tuple[str, ...] = ()  # of a list that is a map
    strategies: tuple[str, ...] = ()  # strategic merge patch: merge, replace, retainKeys
    merge_key: str = ""
    atomic: bool = False  # a struct or map that has one owner
    required: bool = False
    is_open: bool = False  # a struct that keeps fields it does not name

    @property
    def fields(self) -> Mapping[str, "Shape"]:
        """The named fields of a struct; nothing for every other form."""
        if self.type:
            return struct(self.type).fields
        return self.own_fields or {}

    @property
    def is_atomic(self) -> bool:
        return self.atomic or (bool(self.type) and struct(self.type).atomic)

    @property
    def is_associative(self) -> bool:
        """Whether items of this list are known by themselves or by their keys, not by their place."""
        return self.form == "list" and self.list_type in ("set", "map")

    def child(self, name: str) -> "Shape | None":
        """What stands under a field or key; None for a field that a struct does not have."""
        if self.form == "struct":
            return self.fields.get(name) or (ANY if self.is_open else None)
        return self.item or ANY


ANY = Shape("any")
METADATA_TYPE = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class Struct(Value):
    fields: dict[str, Shape]
    atomic: bool = False


class _Shapes(Value):
    types: dict[str, Struct]
    kinds: dict[str, str]


@functools.cache
def _all() -> _Shapes:
    return msgspec.json.decode(zlib.decompress(read_data("shapes.gen.json.z")), type=_Shapes)


def read_data(name: str) -> bytes:
    """A data file of this package; RuntimeError with the remedy for one that was not built."""
    try:
        return resources.files("clew.api").joinpath("data", name).read_bytes()
    except FileNotFoundError:
        raise RuntimeError(f"{name} is not built: run `python hatch_build.py` in the checkout, or reinstall") from None


def struct(name: str) -> Struct:
    """A built-in struct type by its OpenAPI name, such as `io.k8s.api.core.v1.Pod`. KeyError for another name."""
    return _all().types[name]


@functools.cache
def of_kind(kind: Kind) -> Shape | None:
    """The shape of a built-in kind's objects; None for a custom kind."""
    name = _all().kinds.get(f"{kind.group}/{kind.version}/{kind.kind}")
    return Shape("struct", type=name) if name else None


_SCALARS: dict[str, Form] = {"string": "string", "boolean": "boolean", "integer": "integer", "number": "number"}


def of_schema(schema: Mapping[str, Any], *, is_object: bool = True) -> Shape:
    """The shape that a structural schema (apiextensions.k8s.io/v1, JSONSchemaProps) gives its objects."""
    shape = _of_schema(schema)
    if is_object and shape.form == "struct":
        fields = {**_OBJECT_FIELDS, **(shape.own_fields or {}), "metadata": _OBJECT_FIELDS["metadata"]}
        shape = msgspec.structs.replace(shape, own_fields=fields)
    return shape


_OBJECT_FIELDS = {
    "apiVersion": Shape("string"),
    "kind": Shape("string"),
    "metadata": Shape("struct", type=METADATA_TYPE),
}


def _of_schema(schema: Mapping[str, Any]) -> Shape:
    if schema.get("x-kubernetes-int-or-string"):
        return Shape("int-or-string")
    match schema.get("type"):
        case "object":
            return _of_object(schema)
        case "array":
            return Shape(
                "list",
                item=_of_schema(schema.get("items") or {}),
                list_type=schema.get("x-kubernetes-list-type") or "atomic",
                keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
            )
        case str(name) if name in _SCALARS:
            return Shape(_SCALARS[name])
    return ANY


def _of_object(schema: Mapping[str, Any]) -> Shape:
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    keeps = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    values = schema.get("additionalProperties")
    if values and not schema.get("properties"):
        item = _of_schema(values) if isinstance(values, Mapping) else ANY
        return Shape("map", item=item, atomic=atomic)
    fields = {name: _of_schema(value) for name, value in (schema.get("properties") or {}).items()}
    if schema.get("x-kubernetes-embedded-resource"):
        fields = {**_OBJECT_FIELDS, **fields, "metadata": _OBJECT_FIELDS["metadata"]}
    return Shape("struct", own_fields=fields, atomic=atomic, is_open=keeps)
