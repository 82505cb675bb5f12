"""Which of the nodes that can take a pod should. Pure.

Points from 0 to 100 a criterion, weighted about as kube-scheduler's defaults: apart from siblings first (that is what
users look at), then preferences, then the least loaded. Equal nodes take turns by their number of pods.
"""

from collections.abc import Sequence
from typing import Any

from clew.cluster.controllers import node_affinity
from clew.cluster.controllers.nodes.taints import tolerates
from clew.cluster.scheduler.affinity import Namespaces, preferences
from clew.cluster.scheduler.resources import CPU, MEMORY
from clew.cluster.scheduler.state import ClusterState, Host, Placed

SPREAD, TAINTS, AFFINITY, NEIGHBOURS, LOAD = 3.0, 3.0, 2.0, 2.0, 1.0


def best(
    pod: Placed,
    hosts: Sequence[Host],
    state: ClusterState,
    namespaces: Namespaces,
    siblings: Sequence[int] | None = None,
) -> Host:
    """`siblings`: how many pods of the same service each host has, for pods that no controller owns."""
    if len(hosts) == 1:
        return hosts[0]
    total = [LOAD * _free(pod, host) for host in hosts]
    counts = siblings if siblings is not None else [host.owners[pod.owner] if pod.owner else 0 for host in hosts]
    _weigh(total, SPREAD, [-float(count) for count in counts])
    spec = pod.pod.get("spec") or {}
    _weigh(total, TAINTS, [-float(_unloved(spec, host)) for host in hosts])
    if spec.get("affinity"):
        _weigh(total, AFFINITY, [float(node_affinity.preference(spec, host.node)) for host in hosts])
    if points := preferences(pod, state, namespaces):
        _weigh(total, NEIGHBOURS, [points(host) for host in hosts])
    chosen = max(range(len(hosts)), key=lambda i: (round(total[i], 6), -len(hosts[i].placed), hosts[i].name))
    return hosts[chosen]


def _weigh(total: list[float], factor: float, points: Sequence[float]) -> None:
    """Add points stretched to 0..100; what is the same everywhere decides nothing."""
    low, high = min(points), max(points)
    if high > low:
        for index, value in enumerate(points):
            total[index] += factor * 100 * (value - low) / (high - low)


def _free(pod: Placed, host: Host) -> float:
    """How much is left with the pod there, as a part of what the node has: 0..100, the mean of cpu and memory."""
    left = 0.0
    for index, name in enumerate((CPU, MEMORY)):
        have = host.allocatable.get(name, 0)
        if have:
            left += max(0.0, (have - host.load[index] - pod.weight[index]) / have)
    return 50 * left


def _unloved(spec: dict[str, Any], host: Host) -> int:
    """PreferNoSchedule taints that the pod does not tolerate."""
    tolerations = spec.get("tolerations") or ()
    return sum(
        1
        for taint in host.taints
        if taint.get("effect") == "PreferNoSchedule" and not any(tolerates(each, taint) for each in tolerations)
    )
