"""On which nodes a pod can run, and the sentence that says why on none. Pure.

The filters, their order and their words are kube-scheduler's default ones; the first filter that refuses a node
speaks for it.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from clew.api.objects import dig
from clew.base.value import Value
from clew.cluster.controllers import node_affinity
from clew.cluster.controllers.nodes.taints import UNSCHEDULABLE, tolerates, untolerated
from clew.cluster.scheduler.affinity import AFFINITY, DRIVING, Namespaces, filters
from clew.cluster.scheduler.resources import PODS
from clew.cluster.scheduler.state import ClusterState, Host, HostPort, Placed

_CORDONED = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
ANY = ("0.0.0.0", "::", "")  # noqa: S104  # as a hostIP they mean every address


_PINNED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
_CORDON, _TAINT = "node(s) were unschedulable", "node(s) had untolerated taint"
_ELSEWHERE = "node(s) didn't match Pod's node affinity/selector"
_LASTING = (_PINNED, _CORDON, _TAINT, _ELSEWHERE, AFFINITY)  # what no pod's leaving would change
_NO_VICTIMS = "No preemption victims found for incoming pod"
_NO_HELP = "Preemption is not helpful for scheduling"


class Fit(Value):
    """The hosts that can take the pod; if none can, how many were refused for which reason."""

    hosts: list[Host]
    refused: Counter[str]
    asked: int
    no_victims: Counter[str]  # by why pushing other pods out would not help; incomplete where it would
    lacking: str = ""  # what the pod needs and the cluster has not, wherever it ran

    @property
    def message(self) -> str:
        """As kube-scheduler says it: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. …`."""
        if not self.asked:
            return "no nodes available to schedule pods"
        none = f"0/{self.asked} nodes are available"
        said = f"{none}: {self.lacking or _counted(self.refused)}."
        if self.no_victims.total() < self.asked:
            return said  # pods of less priority are in the way: nobody is pushed out here
        return f"{said} preemption: {none}: {_counted(self.no_victims)}."


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))


def fits(pod: Placed, state: ClusterState, namespaces: Namespaces) -> Fit:
    """Try every node; a DaemonSet's pod only the one that it names."""
    spec = pod.pod.get("spec") or {}
    pinned = node_affinity.pinned(spec)
    refused: Counter[str] = Counter()
    no_victims: Counter[str] = Counter()
    asked = len(state.hosts)
    lacking = _lacking(spec)
    if lacking:
        return Fit([], refused, asked, Counter({_NO_HELP: asked}), lacking)
    if pinned:
        candidates = [state.hosts[pinned]] if pinned in state.hosts else []
        if asked > len(candidates):
            refused[_PINNED] = no_victims[_NO_HELP] = asked - len(candidates)
    else:
        candidates = list(state.hosts.values())
    checks = filters(pod, state, namespaces)
    found = []
    for host in candidates:
        reasons = _refusals(spec, pod, host)
        if not reasons:
            reasons = next(([reason] for check in checks if (reason := check(host))), [])
        if reasons:
            refused.update(reasons)
            if reasons[0].startswith(_LASTING) or _too_big(pod, host):
                no_victims[_NO_HELP] += 1
            elif not _has_lesser(host, pod):
                no_victims[_NO_VICTIMS] += 1
        else:
            found.append(host)
    return Fit(found, refused, asked, no_victims)


def _lacking(spec: dict[str, Any]) -> str:
    """Claims are of a kind that is not served, so none can be found."""
    claims = (dig(volume, "persistentVolumeClaim", "claimName") for volume in spec.get("volumes") or ())
    return next((f'persistentvolumeclaim "{claim}" not found' for claim in claims if claim), "")


def _has_lesser(host: Host, pod: Placed) -> bool:
    return any(_priority(each) < _priority(pod) for each in host.placed.values())


def _priority(placed: Placed) -> int:
    return int(dig(placed.pod, "spec", "priority") or 0)


def _refusals(spec: dict[str, Any], pod: Placed, host: Host) -> list[str]:
    """Why a host cannot take the pod, looking at nobody else; empty when it can."""
    if dig(host.node, "spec", "unschedulable") and not any(
        tolerates(each, _CORDONED) for each in spec.get("tolerations") or ()
    ):
        return [_CORDON]
    if taint := untolerated(spec, host.taints, DRIVING):
        return [f"{_TAINT} {{{taint.get('key')}: {taint.get('value') or ''}}}"]
    if not node_affinity.matches(spec, host.node):
        return [_ELSEWHERE]
    if pod.ports and _ports_clash(pod.ports, host.ports):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return _too_little(pod, host)


def _too_little(pod: Placed, host: Host) -> list[str]:
    short = ["Too many pods"] if host.room < 1 else []
    for name, wanted in pod.asked.items():
        if wanted and name != PODS and wanted > host.allocatable.get(name, 0) - host.used.get(name, 0):
            short.append(f"Insufficient {name}")
    return short


def _too_big(pod: Placed, host: Host) -> bool:
    """Whether even an empty host would not hold it."""
    return any(wanted > host.allocatable.get(name, 0) for name, wanted in pod.asked.items() if name != PODS)


def _ports_clash(wanted: Iterable[HostPort], taken: Counter[HostPort]) -> bool:
    """A port clashes on the same address, and on any when either means every address."""
    for address, protocol, number in wanted:
        for (other, its_protocol, its_number), count in taken.items():
            if count <= 0 or (protocol, number) != (its_protocol, its_number):
                continue
            if address == other or address in ANY or other in ANY:
                return True
    return False
