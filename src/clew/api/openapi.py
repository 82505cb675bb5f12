"""OpenAPI v3 documents (KEP-2896): an index, and one document a group and version, built from the kinds served."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from clew.api.definitions import all_definitions, name_for
from clew.api.kinds import Kind
from clew.api.objects import Object

_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_PATCHES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip


def _group_versions(kinds: Iterable[Kind]) -> dict[str, list[Kind]]:
    """`v1` or `apps/v1` to its kinds."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds:
        found.setdefault(kind.api_version, []).append(kind)
    return found


def index(kinds: Sequence[Kind], crds: Sequence[Object]) -> Object:
    """GET /openapi/v3: where each document is, with a hash by which clients keep it."""
    paths: Object = {}
    versions = sorted((crd["metadata"]["name"], crd["metadata"].get("generation", 0)) for crd in crds)
    for group_version, served in _group_versions(kinds).items():
        root = f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"
        seed = msgspec.json.encode([group_version, [kind.kind for kind in served], versions, "1"])
        digest = hashlib.sha256(seed).hexdigest()[:32].upper()
        paths[root] = {"serverRelativeURL": f"/openapi/v3/{root}?hash={digest}"}
    return {"paths": paths}


def document(group_version: str, kinds: Sequence[Kind], crds: Sequence[Object]) -> bytes:
    """One group and version's document; KeyError where nothing is served there."""
    served = _group_versions(kinds)[group_version]
    schemas: Object = {}
    paths: Object = {}
    custom = _custom_schemas(crds)
    for kind in served:
        name = name_for(kind) or f"{'.'.join(reversed(kind.group.split('.')))}.{kind.version}.{kind.kind}"
        if name_for(kind) is None:
            schemas[name] = _custom_definition(kind, custom.get((kind.group, kind.version, kind.kind), {}))
        _collect(name, schemas)
        _collect(f"{name}List", schemas)
        paths |= _paths(kind, name)
    for extra in ("DeleteOptions", "Status", "WatchEvent"):
        _collect(_META + extra, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.37.0"},
            "paths": paths, "components": {"schemas": dict(sorted(schemas.items()))},
        }
    )  # fmt: skip


def _collect(name: str, into: Object) -> None:
    """A definition and all that it refers to."""
    waiting = [name]
    while waiting:
        current = waiting.pop()
        definition = into.get(current) or all_definitions().get(current)
        if definition is None:
            continue
        if current in into and current != name:
            continue
        into[current] = definition
        waiting += [each for each in _references(definition) if each not in into]


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_REF)
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _custom_schemas(crds: Sequence[Object]) -> dict[tuple[str, str, str], Object]:
    return {
        (crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"]): (version.get("schema") or {}).get(
            "openAPIV3Schema"
        )
        or {}
        for crd in crds
        for version in crd["spec"].get("versions") or ()
    }


def _custom_definition(kind: Kind, schema: Object) -> Object:
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": f"{_REF}{_META}ObjectMeta"}]},
    }
    made = {**schema, "type": "object", "properties": {**schema.get("properties", {}), **properties}}
    made["x-kubernetes-group-version-kind"] = [{"group": kind.group, "version": kind.version, "kind": kind.kind}]
    return made


def _query(name: str, kind: str = "string") -> Object:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}


def _paths(kind: Kind, definition: str) -> Object:
    """The collection and the object, with the parameters by which clients see what the server can do."""
    reference = {"$ref": _REF + definition}
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    collection = f"{kind.prefix}{scope}/{kind.plural}"
    writes = [_query("dryRun"), _query("fieldManager"), _query("fieldValidation")]
    body = {"required": True, "content": {"*/*": {"schema": reference}}}

    def operation(action: str, **more: Any) -> Object:
        return {
            "operationId": f"{action}{kind.kind}{kind.version}",
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            **more,
        }

    created = {"post": operation("post", parameters=writes, requestBody=body)}
    if "list" not in kind.verbs:
        return {collection: created}
    patch = {"content": {each: {"schema": {"$ref": f"{_REF}{_META}Patch"}} for each in _PATCHES}}
    selectors = [_query("labelSelector"), _query("fieldSelector"), _query("limit", "integer"), _query("continue")]
    return {
        collection: {"get": operation("list", parameters=selectors), **created},
        f"{collection}/{{name}}": {
            "get": operation("get"),
            "put": operation("put", parameters=writes, requestBody=body),
            "patch": operation("patch", parameters=[*writes, _query("force", "boolean")], requestBody=patch),
            "delete": operation("delete", parameters=[_query("dryRun"), _query("propagationPolicy")]),
        },
    }
