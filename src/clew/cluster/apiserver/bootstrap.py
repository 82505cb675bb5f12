"""What an API server makes by itself at its start: namespaces, roles and bindings, the Service `kubernetes`."""

import asyncio

from clew.api.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    SERVICE,
    Kind,
)
from clew.api.objects import Object
from clew.cluster.apiserver.bootstrap_roles import BINDINGS, ROLES
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.rbac import MASTERS
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SELF = Writer(Identity("system:apiserver", (MASTERS,)), "kube-apiserver")
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}


async def bootstrap(registry: Registry) -> None:
    """Idempotent; what is there and differs only where the server owns it is brought up to date."""
    for name in NAMESPACES:
        await _ensure(registry, NAMESPACE, "", {"metadata": {"name": name}})
    await asyncio.gather(*(_ensure(registry, CLUSTER_ROLE, "", _role(role)) for role in ROLES))
    await asyncio.gather(*(_ensure(registry, CLUSTER_ROLE_BINDING, "", _binding(binding)) for binding in BINDINGS))
    await _kubernetes_service(registry)


async def _ensure(registry: Registry, kind: Kind, namespace: str, obj: Object) -> None:
    if registry.state.latest(kind, namespace, obj["metadata"]["name"]) is None:
        await registry.create(kind, namespace, obj, _SELF)


def _role(role: Object) -> Object:
    labels = _LABEL | role.get("labels", {})
    made: Object = {"metadata": {"name": role["name"], "labels": labels}, "rules": role.get("rules", [])}
    if "aggregate" in role:
        selector = {"matchLabels": {f"rbac.authorization.k8s.io/aggregate-to-{role['aggregate']}": "true"}}
        made["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return made


def _binding(binding: tuple[str, str, str]) -> Object:
    role, kind, subject = binding
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": role, "labels": dict(_LABEL)},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": kind, "name": subject}],
    }


async def _kubernetes_service(registry: Registry) -> None:
    """The API server's own Service, with hand-kept endpoints; its first address of the range is its by custom."""
    options = registry.state.options
    advertised = options.advertise
    if not advertised:
        return
    port = advertised[0][1]
    pool = registry.strategies.allocators.pools[options.ip_families[0]]
    first = str(pool.network.network_address + 1)
    labels = {"component": "apiserver", "provider": "kubernetes"}
    spec = {
        "type": "ClusterIP", "clusterIP": first, "sessionAffinity": "None",
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
    }  # fmt: skip
    service = {"metadata": {"name": "kubernetes", "labels": labels}, "spec": spec}
    await _ensure(registry, SERVICE, "default", service)
    primary = [ip for ip, _ in advertised if (":" in ip) == (":" in first)]
    slice_labels = {"kubernetes.io/service-name": "kubernetes"}
    ports = [{"name": "https", "protocol": "TCP", "port": port}]
    endpoints: Object = {
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip} for ip in primary], "ports": ports}],
    }
    endpoint_slice: Object = {
        "metadata": {"name": "kubernetes", "labels": slice_labels},
        "addressType": options.ip_families[0],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in primary],
        "ports": ports,
    }
    await _replace(registry, ENDPOINTS, endpoints)
    await _replace(registry, ENDPOINT_SLICE, endpoint_slice)


async def _replace(registry: Registry, kind: Kind, obj: Object) -> None:
    """Create, or update where the address has moved."""
    record = registry.state.latest(kind, "default", "kubernetes")
    if record is None:
        await registry.create(kind, "default", obj, _SELF)
        return
    current = record.decode()
    current |= {key: value for key, value in obj.items() if key != "metadata"}
    await registry.update(kind, "default", "kubernetes", current, _SELF)
