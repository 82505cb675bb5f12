"""The API's own description of its objects, loaded on first use: fields, types, patch strategies, list keys."""

import base64
import functools
import zlib
from collections.abc import Iterable
from importlib import resources
from typing import Any, Literal

import msgspec

from clew.api.kinds import Kind

Definition = dict[str, Any]
_REF = "#/components/schemas/"
ListType = Literal["map", "set", "atomic"]
SPECIAL = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "free",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "free",
}


def load(name: str) -> Any:
    """A compressed JSON file of the package's data."""
    return msgspec.json.decode(zlib.decompress(resources.files("clew.api.data").joinpath(name).read_bytes()))


class Definitions:
    """Definitions by name, each decompressed when it is first asked for."""

    def __init__(self) -> None:
        raw = resources.files("clew.api.data").joinpath("schemas.gen.json").read_bytes()
        self._packed: dict[str, str] = msgspec.json.decode(raw)
        self._ready: dict[str, Definition] = {}

    def __getitem__(self, name: str) -> Definition:
        found = self._ready.get(name)
        if found is None:
            text = zlib.decompress(base64.b85decode(self._packed[name]))
            found = self._ready[name] = msgspec.json.decode(text)
        return found

    def get(self, name: str) -> Definition | None:
        return self[name] if name in self._packed else None

    def names(self) -> Iterable[str]:
        return self._packed


@functools.cache
def all_definitions() -> Definitions:
    return Definitions()


@functools.cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    return {
        (each["group"], each["version"], each["kind"]): name
        for name in all_definitions().names()
        for each in all_definitions()[name].get("x-kubernetes-group-version-kind", ())
    }


def name_for(kind: Kind) -> str | None:
    """The definition's name of a built-in kind, None for a custom one."""
    return _by_kind().get((kind.group, kind.version, kind.kind))


class Node:
    """One place in an object's description: a struct, a map, a list or a scalar."""

    __slots__ = ("_items", "_properties", "definition", "name")

    def __init__(self, definition: Definition, name: str = "") -> None:
        self.definition = definition
        self.name = name  # of the definition it comes from, "" for an inline one
        self._properties: dict[str, Node] | None = None
        self._items: Node | None = None

    @property
    def special(self) -> str:
        return SPECIAL.get(self.name, "")

    @property
    def type(self) -> str:
        found: str = self.definition.get("type", "")
        return found or ("object" if "properties" in self.definition else "")

    @property
    def is_struct(self) -> bool:
        return "properties" in self.definition

    def child(self, field: str) -> "Node | None":
        """The field of a struct, or the value of a map; None for what is not described."""
        if self._properties is None:
            self._properties = {key: node_of(value) for key, value in self.definition.get("properties", {}).items()}
        found = self._properties.get(field)
        if found is None and not self.is_struct:
            return self.items
        return found

    @property
    def fields(self) -> dict[str, "Node"]:
        self.child("")
        return self._properties or {}

    @property
    def items(self) -> "Node | None":
        """What a list or a map holds."""
        if self._items is None:
            inner = self.definition.get("items") or self.definition.get("additionalProperties")
            if isinstance(inner, dict):
                self._items = node_of(inner)
        return self._items

    @property
    def list_type(self) -> ListType:
        """How lists merge in server-side apply; the strategic hints stand in where nothing else is said."""
        told = self.definition.get("x-kubernetes-list-type")
        if told in {"map", "set", "atomic"}:
            found: ListType = told
            return found
        if "merge" in self.strategies:
            return "map" if self.merge_key else "set"
        return "atomic"

    @property
    def list_keys(self) -> tuple[str, ...]:
        keys = self.definition.get("x-kubernetes-list-map-keys")
        return tuple(keys) if keys else ((self.merge_key,) if self.merge_key else ())

    @property
    def is_atomic(self) -> bool:
        return self.definition.get("x-kubernetes-map-type") == "atomic" or bool(self.special)

    @property
    def strategies(self) -> tuple[str, ...]:
        return tuple(self.definition.get("x-kubernetes-patch-strategy", "").split(","))

    @property
    def merge_key(self) -> str:
        found: str = self.definition.get("x-kubernetes-patch-merge-key", "")
        return found


@functools.cache
def _named(name: str) -> Node:
    return Node(all_definitions()[name], name)


def node_of(definition: Definition) -> Node:
    """The node of a definition, following its reference; hints that stand beside the reference are kept."""
    reference = definition.get("$ref") or next(
        (each["$ref"] for each in definition.get("allOf", ()) if "$ref" in each), ""
    )
    if not reference:
        return Node(definition)
    name = reference.removeprefix(_REF)
    beside = {key: value for key, value in definition.items() if key.startswith("x-kubernetes")}
    if not beside:
        return _named(name)
    return Node({**all_definitions()[name], **beside}, name)


def node_for(kind: Kind) -> Node | None:
    """The description of a built-in kind; None for a custom one."""
    name = name_for(kind)
    return _named(name) if name else None
