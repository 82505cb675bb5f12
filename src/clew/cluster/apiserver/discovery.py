"""What the server serves, for clients that ask: the classic lists and the aggregated documents (KEP-3352). Pure."""

import base64
import hashlib
from collections.abc import Sequence

from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.apiserver.catalog import Catalog, storage_name

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
    "proxy": ("", "v1", "PodProxyOptions", ("create", "delete", "get", "patch", "update")),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "finalize": ("", "v1", "Namespace", ("update",)),
    "ephemeralcontainers": ("", "", "", ("get", "patch", "update")),
}
# The order in which groups are shown and in which a short name is looked for.
_ORDER = (
    "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
    "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "apiextensions.k8s.io",
    "coordination.k8s.io", "discovery.k8s.io",
)  # fmt: skip


def _singular(catalog: Catalog, kind: Kind) -> str:
    custom = catalog.custom(kind)
    return custom.singular if custom else kind.singular


def core_versions(host: str) -> Object:
    """APIVersions of the group without a name."""
    return {
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    }  # fmt: skip


def paths(catalog: Catalog) -> list[str]:
    """The index that `/` answers with."""
    groups = catalog.groups()
    found = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez"]
    found += ["/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
    for group, versions in groups.items():
        if group:
            found += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    return sorted(found)


def resources(catalog: Catalog, group: str, version: str) -> Object | None:
    """The classic APIResourceList of one group and version; None where that is not served."""
    kinds = catalog.groups().get(group, {}).get(version)
    if not kinds:
        return None
    listed = [entry for kind in kinds for entry in _resource(catalog, kind)]
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version, "resources": listed,
    }  # fmt: skip


def _resource(catalog: Catalog, kind: Kind) -> list[Object]:
    entry: Object = {
        "name": kind.plural, "singularName": _singular(catalog, kind), "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": list(kind.verbs),
    }  # fmt: skip
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        entry["storageVersionHash"] = _hash(kind)
    entries = [entry]
    for name in kind.subresources:
        group, version, served, verbs = SUBRESOURCES[name]
        part: Object = {
            "name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced,
            "kind": served or kind.kind, "verbs": list(verbs),
        }  # fmt: skip
        if served and (group, version) != (kind.group, kind.version):
            part |= {"group": group, "version": version}
        entries.append(part)
    return entries


def _hash(kind: Kind) -> str:
    """Equal for kinds whose objects are stored alike, as clients may assume."""
    return base64.b64encode(hashlib.sha256(storage_name(kind).encode()).digest()[:8]).decode()


def _group(name: str, versions: Sequence[str]) -> Object:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _names(groups: dict[str, dict[str, list[Kind]]]) -> list[str]:
    known = {name: at for at, name in enumerate(_ORDER)}
    return sorted((name for name in groups if name), key=lambda name: (known.get(name, len(_ORDER)), name))


def group_list(catalog: Catalog) -> Object:
    groups = catalog.groups()
    return {
        "kind": "APIGroupList", "apiVersion": "v1",
        "groups": [_group(name, list(groups[name])) for name in _names(groups)],
    }  # fmt: skip


def one_group(catalog: Catalog, name: str) -> Object | None:
    versions = catalog.groups().get(name) if name else None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))} if versions else None


def aggregated(catalog: Catalog, *, core: bool) -> Object:
    """APIGroupDiscoveryList v2: all of /api or all of /apis in one document."""
    groups = catalog.groups()
    items: list[Object] = []
    for name in [""] if core else _names(groups):
        versions = [
            {
                "version": version, "freshness": "Current",
                "resources": [_discovered(catalog, kind) for kind in kinds],
            }
            for version, kinds in groups[name].items()
        ]  # fmt: skip
        meta: Object = {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None}
        items.append({"metadata": meta, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    }  # fmt: skip


def _discovered(catalog: Catalog, kind: Kind) -> Object:
    entry: Object = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": _singular(catalog, kind),
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
