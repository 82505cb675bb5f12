"""What an API server makes by itself at its start: namespaces, roles and bindings, its own Service."""

import asyncio

from clew.api.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    NAMESPACE,
    SERVICE_CIDR,
    Kind,
)
from clew.api.objects import Object
from clew.cluster.apiserver import own_service
from clew.cluster.apiserver.bootstrap_roles import BINDINGS, ROLES
from clew.cluster.apiserver.chores import SELF
from clew.cluster.apiserver.escalation import missing
from clew.cluster.apiserver.registry import Registry

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_GROUP = "rbac.authorization.k8s.io"


async def bootstrap(registry: Registry) -> None:
    """Idempotent; what is there and lacks something that the server gives is completed."""
    await asyncio.gather(*(_ensure(registry, NAMESPACE, "", {"metadata": {"name": name}}) for name in NAMESPACES))
    await asyncio.gather(*(_role(registry, role) for role in ROLES))
    await asyncio.gather(*(_ensure(registry, CLUSTER_ROLE_BINDING, "", _binding(each)) for each in BINDINGS))
    cidrs = list(registry.state.options.service_cidrs)
    await _ensure(registry, SERVICE_CIDR, "", {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}})
    await own_service.ensure(registry, SELF)


async def _ensure(registry: Registry, kind: Kind, namespace: str, obj: Object) -> None:
    if registry.state.latest(kind, namespace, obj["metadata"]["name"]) is None:
        await registry.create(kind, namespace, obj, SELF)


async def _role(registry: Registry, role: Object) -> None:
    """Rules that a newer version brings are added, unless somebody has switched that off on the role."""
    name, rules = role["name"], role.get("rules", [])
    record = registry.state.latest(CLUSTER_ROLE, "", name)
    if record is None:
        meta = {"name": name, "labels": _LABEL | role.get("labels", {}), "annotations": {_UPDATE: "true"}}
        made: Object = {"metadata": meta, "rules": rules}
        if "aggregate" in role:
            selector = {"matchLabels": {f"{_GROUP}/aggregate-to-{role['aggregate']}": "true"}}
            made["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        await registry.create(CLUSTER_ROLE, "", made, SELF)
        return
    current = record.decode()
    if (current["metadata"].get("annotations") or {}).get(_UPDATE) != "true" or "aggregate" in role:
        return
    held = current.get("rules") or []
    added = [rule for rule in rules if missing(held, [rule])]
    if added:
        await registry.update(CLUSTER_ROLE, "", name, {**current, "rules": [*held, *added]}, SELF)


def _binding(binding: tuple[str, str, str]) -> Object:
    role, kind, subject = binding
    return {
        "metadata": {"name": role, "labels": dict(_LABEL), "annotations": {_UPDATE: "true"}},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _GROUP, "kind": kind, "name": subject}],
    }
