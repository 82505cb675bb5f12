"""What the server serves, for clients that ask: legacy lists and the aggregated document (KEP-3352)."""

from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.apiserver.catalog import Catalog

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

# What a subresource is an object of, and what may be done with it.
SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "status": ("", "", "", ("get", "patch", "update")),
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "binding": ("", "v1", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "log": ("", "v1", "Pod", ("get",)),
    "exec": ("", "v1", "PodExecOptions", ("create", "get")),
    "attach": ("", "v1", "PodAttachOptions", ("create", "get")),
    "portforward": ("", "v1", "PodPortForwardOptions", ("create", "get")),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "finalize": ("", "v1", "Namespace", ("update",)),
    "ephemeralcontainers": ("", "", "", ("get", "patch", "update")),
}
_ORDER = ("apps", "authentication.k8s.io", "authorization.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io")


def resource_list(kinds: list[Kind]) -> Object:
    """The classic APIResourceList of one group and version."""
    resources: list[Object] = []
    for kind in kinds:
        entry: Object = {
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": list(kind.verbs),
        }  # fmt: skip
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        resources.append(entry)
        for name in kind.subresources:
            group, version, served, verbs = SUBRESOURCES[name]
            part: Object = {
                "name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced,
                "kind": served or kind.kind, "verbs": list(verbs),
            }  # fmt: skip
            if served:
                part |= {"group": group, "version": version}
            resources.append(part)
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version, "resources": resources,
    }  # fmt: skip


def _group(name: str, versions: list[str]) -> Object:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _names(catalog: Catalog) -> list[str]:
    names = [name for name in catalog.groups() if name]
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def group_list(catalog: Catalog) -> Object:
    groups = catalog.groups()
    return {
        "kind": "APIGroupList", "apiVersion": "v1",
        "groups": [_group(name, list(groups[name])) for name in _names(catalog)],
    }  # fmt: skip


def one_group(catalog: Catalog, name: str) -> Object | None:
    versions = catalog.groups().get(name) if name else None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))} if versions else None


def aggregated(catalog: Catalog, *, core: bool) -> Object:
    """APIGroupDiscoveryList v2: all of /api or all of /apis in one document."""
    groups = catalog.groups()
    items: list[Object] = []
    for name in [""] if core else _names(catalog):
        versions = [
            {"version": version, "freshness": "Current", "resources": [_discovered(kind) for kind in kinds]}
            for version, kinds in groups[name].items()
        ]
        items.append({"metadata": {"name": name or None, "creationTimestamp": None}, "versions": versions})
        if not name:
            items[-1]["metadata"] = {"creationTimestamp": None}
    return {
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    }  # fmt: skip


def _discovered(kind: Kind) -> Object:
    entry: Object = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    parts: list[Object] = []
    for name in kind.subresources:
        group, version, served, verbs = SUBRESOURCES[name]
        response = {"group": group, "version": version, "kind": served} if served else entry["responseKind"]
        parts.append({"subresource": name, "responseKind": response, "verbs": list(verbs)})
    if parts:
        entry["subresources"] = parts
    return entry
