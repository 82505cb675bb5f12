"""Documents put together from the schemas of the package's data, the schemas of custom kinds, and the paths served."""

import base64
import functools
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from clew.api import shapes
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.api.openapi.paths import META, REF, paths_of
from clew.api.shapes import read_data

VERSION = "v1.37.0"
_SUBRESOURCE_TYPES = {
    "scale": "io.k8s.api.autoscaling.v1.Scale",
    "eviction": "io.k8s.api.policy.v1.Eviction",
    "binding": "io.k8s.api.core.v1.Binding",
    "token": "io.k8s.api.authentication.v1.TokenRequest",
}
_EVERYWHERE = ("DeleteOptions", "Patch", "Status", "WatchEvent")


def index(kinds: Sequence[Kind], crds: Sequence[Object]) -> Object:
    """GET /openapi/v3: where each document is, with a hash of its content by which clients keep it."""
    entries = {
        _root(group_version): {"serverRelativeURL": f"/openapi/v3/{_root(group_version)}?hash={digest}"}
        for group_version in sorted({kind.api_version for kind in kinds})
        for digest in [_digest(_served(group_version, kinds), crds)]
    }
    return {"paths": entries}


def _root(group_version: str) -> str:
    return f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"


def _served(group_version: str, kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    return tuple(kind for kind in kinds if kind.api_version == group_version)


def _digest(served: tuple[Kind, ...], crds: Sequence[Object]) -> str:
    custom = [_custom_schema(kind, crds) for kind in served if shapes.of_kind(kind) is None]
    seed = msgspec.json.encode([VERSION, [msgspec.structs.astuple(kind) for kind in served], custom], order="sorted")
    return hashlib.sha256(seed).hexdigest()[:32].upper()


def document(group_version: str, kinds: Sequence[Kind], crds: Sequence[Object]) -> bytes:
    """One group and version's document, as JSON: `v1`, `apps/v1`. KeyError where nothing is served there."""
    served = _served(group_version, kinds)
    if not served:
        raise KeyError(group_version)
    if all(shapes.of_kind(kind) is not None for kind in served):
        return _built_in_document(served)
    return _document(served, {kind: _custom_schema(kind, crds) for kind in served if shapes.of_kind(kind) is None})


@functools.lru_cache(maxsize=32)
def _built_in_document(served: tuple[Kind, ...]) -> bytes:
    return _document(served, {})


def _document(served: tuple[Kind, ...], custom: Mapping[Kind, Object]) -> bytes:
    schemas: dict[str, Any] = {}
    wanted = {META + name for name in _EVERYWHERE}
    paths: Object = {}
    for kind in served:
        name = _type_name(kind)
        paths |= paths_of(kind, name)
        wanted |= {name, f"{name}List"}
        wanted |= {_SUBRESOURCE_TYPES[each] for each in kind.subresources if each in _SUBRESOURCE_TYPES}
        if kind in custom:
            schemas[name] = _custom_definition(kind, custom[kind])
            schemas[f"{name}List"] = _custom_list(kind, name)
            wanted |= {META + "ObjectMeta", META + "ListMeta"}
    found = {name: _raw(name) for name in _closure(wanted)} | schemas
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": dict(sorted(found.items()))},
        }
    )


def _type_name(kind: Kind) -> str:
    """A built-in type's name, or a custom one's: `org.example.v1.Widget` for the group `example.org`."""
    shape = shapes.of_kind(kind)
    return shape.type if shape else ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


@functools.cache
def _packed() -> dict[str, str]:
    found: dict[str, str] = msgspec.json.decode(read_data("schemas.gen.json"))
    return found


@functools.lru_cache(maxsize=1024)
def _raw(name: str) -> msgspec.Raw:
    return msgspec.Raw(zlib.decompress(base64.b85decode(_packed()[name])))


@functools.lru_cache(maxsize=1024)
def _references(name: str) -> tuple[str, ...]:
    text = bytes(_raw(name)).decode()
    pieces = text.split(f'"$ref":"{REF}')[1:]
    return tuple({piece.partition('"')[0] for piece in pieces})


def _closure(wanted: Iterable[str]) -> set[str]:
    """The built-in types among the wanted ones, and all that they refer to."""
    waiting = [name for name in wanted if name in _packed()]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(name)
    return found


def _custom_schema(kind: Kind, crds: Sequence[Object]) -> Object:
    for crd in crds:
        spec = crd["spec"]
        if spec["group"] == kind.group and spec["names"]["kind"] == kind.kind:
            for version in spec.get("versions") or ():
                if version["name"] == kind.version:
                    found: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {}
                    return found
    return {}


def _identified(kind: str, group: str, version: str) -> Object:
    return {"x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": kind}]}


def _custom_definition(kind: Kind, schema: Object) -> Object:
    common = {
        "apiVersion": {"type": "string", "description": _API_VERSION},
        "kind": {"type": "string", "description": _KIND},
        "metadata": {"allOf": [{"$ref": f"{REF}{META}ObjectMeta"}], "description": _METADATA},
    }
    properties = {**common, **(schema.get("properties") or {}), "metadata": common["metadata"]}
    identity = _identified(kind.kind, kind.group, kind.version)
    return {**schema, "type": "object", "properties": properties, **identity}


def _custom_list(kind: Kind, name: str) -> Object:
    return {
        "type": "object",
        "description": f"{kind.kind}List is a list of {kind.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION},
            "kind": {"type": "string", "description": _KIND},
            "metadata": {"allOf": [{"$ref": f"{REF}{META}ListMeta"}], "description": _METADATA},
            "items": {
                "type": "array",
                "description": f"List of {kind.plural}",
                "items": {"allOf": [{"$ref": REF + name}]},
            },
        },
        **_identified(f"{kind.kind}List", kind.group, kind.version),
    }


_API_VERSION = "The versioned schema of this representation of an object."
_KIND = "The REST resource that this object represents, in CamelCase."
_METADATA = "Standard object's metadata."
