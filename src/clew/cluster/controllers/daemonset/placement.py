"""On which nodes a DaemonSet's pod belongs, and what the pod for a node looks like. Pure."""

from collections.abc import Mapping
from typing import Any

from clew.api.kinds import DAEMON_SET
from clew.api.objects import Object, clone, name_of
from clew.cluster.controllers import node_affinity
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.nodes import taints

HASH_LABEL = "controller-revision-hash"
GENERATION_LABEL = "pod-template-generation"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TOLERATED = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    (taints.DISK_PRESSURE, "NoSchedule"),
    (taints.MEMORY_PRESSURE, "NoSchedule"),
    (taints.PID_PRESSURE, "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)


def belongs(spec: Mapping[str, Any], node: Object) -> tuple[bool, bool]:
    """(a pod should be made on the node, one that is there may stay), for a pod spec with `tolerations` filled in."""
    pinned_to = spec.get("nodeName")
    if pinned_to and pinned_to != name_of(node):
        return False, False
    if not node_affinity.matches(spec, node):
        return False, False
    found = taints.taints(node)
    if taints.untolerated(spec, found, frozenset({"NoExecute"})) is not None:
        return False, False
    return taints.untolerated(spec, found, frozenset({"NoSchedule"})) is None, True


def tolerant(spec: Mapping[str, Any]) -> Object:
    """The pod spec with the tolerations that every daemon has: it stays on nodes that are in trouble."""
    made: Object = clone(spec)
    wanted = [*_TOLERATED, *([(taints.NETWORK_UNAVAILABLE, "NoSchedule")] if spec.get("hostNetwork") else [])]
    present = made.get("tolerations") or []
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in wanted]
    made["tolerations"] = [*present, *(each for each in added if each not in present)]
    return made


def pod_for(daemon_set: Object, node: str, revision_hash: str, generation: int) -> Object:
    """The pod to create; the scheduler binds it to the one node that its affinity names."""
    pod = podlike.from_template(DAEMON_SET, daemon_set, daemon_set["spec"]["template"])
    pod["metadata"]["labels"] |= {HASH_LABEL: revision_hash, GENERATION_LABEL: str(generation)}
    pod["spec"] = tolerant(pod["spec"])
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = pod["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
    terms = (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    affinity[_REQUIRED] = {"nodeSelectorTerms": [{**term, "matchFields": [field]} for term in terms]}
    return pod


def node_of(pod: Mapping[str, Any]) -> str:
    """The node that a daemon's pod is on, or is meant for."""
    return podlike.node_of(pod) or node_affinity.pinned(pod.get("spec") or {})
