"""The paths of a kind: the operations that the server answers, with the parameters by which clients see what it can."""

from typing import Any

from clew.api.kinds import Kind
from clew.api.objects import Object

REF = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_JSON = "application/json"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
_STRATEGIC = "application/strategic-merge-patch+json"
_CONNECTED = frozenset({"attach", "exec", "portforward", "proxy"})
_POSTED = {
    "binding": ("io.k8s.api.core.v1.Binding", ("", "v1", "Binding")),
    "eviction": ("io.k8s.api.policy.v1.Eviction", ("policy", "v1", "Eviction")),
    "token": ("io.k8s.api.authentication.v1.TokenRequest", ("authentication.k8s.io", "v1", "TokenRequest")),
}
_SCALE = ("io.k8s.api.autoscaling.v1.Scale", ("autoscaling", "v1", "Scale"))

Identity = tuple[str, str, str]  # group, version, kind


def _query(name: str, description: str, kind: str = "string") -> Object:
    schema = {"type": kind, "uniqueItems": True}
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _in_path(name: str, description: str) -> Object:
    schema = {"type": "string", "uniqueItems": True}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


_PRETTY = _query("pretty", "If 'true', then the output is pretty printed.")
_DRY_RUN = _query("dryRun", "'All' runs every stage of the request and stores nothing.")
_MANAGER = _query("fieldManager", "The name of the actor that makes the change; it owns the fields that it sets.")
_VALIDATION = _query(
    "fieldValidation",
    "What unknown and repeated fields cause: Ignore, Warn (the default) or Strict, which refuses them.",
)
_FORCE = _query("force", "An apply takes fields from other managers instead of failing with a conflict.", "boolean")
_WRITES = [_DRY_RUN, _MANAGER, _VALIDATION]
_LISTS = [
    _query("allowWatchBookmarks", "Asks for events of the type BOOKMARK.", "boolean"),
    _query("continue", "The token of the previous page."),
    _query("fieldSelector", "Restricts the objects by their fields."),
    _query("labelSelector", "Restricts the objects by their labels."),
    _query("limit", "The most objects in one answer.", "integer"),
    _query("resourceVersion", "How fresh the answer must be."),
    _query("resourceVersionMatch", "How resourceVersion is applied: Exact or NotOlderThan."),
    _query("sendInitialEvents", "A watch begins with the objects that there are.", "boolean"),
    _query("timeoutSeconds", "How long the request may take.", "integer"),
    _query("watch", "Streams changes instead of listing.", "boolean"),
]
_DELETES = [
    _DRY_RUN,
    _query("gracePeriodSeconds", "How long the object may take to end; 0 deletes at once.", "integer"),
    _query("orphanDependents", "Replaced by propagationPolicy.", "boolean"),
    _query("propagationPolicy", "What becomes of dependents: Orphan, Background or Foreground."),
]


def paths_of(kind: Kind, type_name: str) -> Object:
    """All paths of a kind, whose objects have the schema `type_name`."""
    made: Object = {}
    identity = (kind.group, kind.version, kind.kind)
    collection = kind.path("{namespace}")
    writer = _Operations(type_name, identity)
    if kind.verbs == ("create",):
        return {collection: {"parameters": _place(kind), "post": writer.write("post", "create")}}
    made[collection] = {
        "parameters": _place(kind),
        "get": writer.read("list", f"{type_name}List", _LISTS),
        "post": writer.write("post", "create"),
        "delete": writer.delete("deletecollection", [*_LISTS, *_DELETES]),
    }
    if kind.namespaced:
        made[kind.path()] = {"parameters": [_PRETTY], "get": writer.read("list", f"{type_name}List", _LISTS)}
    made[kind.path("{namespace}", "{name}")] = {
        "parameters": _place(kind, named=True),
        **writer.object(strategic=type_name.startswith("io.k8s.")),
        "delete": writer.delete("delete", _DELETES),
    }
    for subresource in kind.subresources:
        place = kind.path("{namespace}", "{name}", subresource)
        made[place] = {"parameters": _place(kind, named=True), **_subresource(subresource, writer)}
    return made


def _place(kind: Kind, *, named: bool = False) -> list[Object]:
    found = [_in_path("name", f"name of the {kind.kind}")] if named else []
    if kind.namespaced:
        found.append(_in_path("namespace", "object name and auth scope, such as for teams and projects"))
    return [*found, _PRETTY]


def _subresource(name: str, writer: "_Operations") -> Object:
    if name in _CONNECTED:
        return {method: writer.connect() for method in ("get", "post")}
    if name == "log":
        return {"get": writer.read("get", META + "Status", [])}
    if name in _POSTED:
        return {"post": _Operations(*_POSTED[name]).write("post", "create")}
    if name == "scale":
        return _Operations(*_SCALE).object(strategic=True)
    if name == "finalize":
        return {"put": writer.write("put", "replace")}
    return writer.object(strategic=writer.type_name.startswith("io.k8s."))


class _Operations:
    """The operations on objects of one type."""

    def __init__(self, type_name: str, identity: Identity) -> None:
        self.type_name = type_name
        group, version, kind = identity
        self._gvk = {"group": group, "version": version, "kind": kind}

    def _operation(self, action: str, answer: str, **more: Any) -> Object:
        content = {_JSON: {"schema": {"$ref": REF + answer}}}
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self._gvk,
            "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
            **more,
        }

    def _body(self, name: str) -> Object:
        return {"required": True, "content": {"*/*": {"schema": {"$ref": REF + name}}}}

    def read(self, action: str, answer: str, parameters: list[Object]) -> Object:
        return self._operation(action, answer, parameters=parameters)

    def write(self, action: str, verb: str) -> Object:
        body = self._body(self.type_name)
        return self._operation(action, self.type_name, description=verb, parameters=_WRITES, requestBody=body)

    def delete(self, action: str, parameters: list[Object]) -> Object:
        body = {**self._body(META + "DeleteOptions"), "required": False}
        return self._operation(action, META + "Status", parameters=parameters, requestBody=body)

    def connect(self) -> Object:
        return self._operation("connect", META + "Status")

    def object(self, *, strategic: bool) -> Object:
        """get, put and patch."""
        types = (*_PATCHES, _STRATEGIC) if strategic else _PATCHES
        patch = {"required": True, "content": {each: {"schema": {"$ref": f"{REF}{META}Patch"}} for each in types}}
        return {
            "get": self.read("get", self.type_name, []),
            "put": self.write("put", "replace"),
            "patch": self._operation("patch", self.type_name, parameters=[*_WRITES, _FORCE], requestBody=patch),
        }
