"""The nodes and what runs on them, as the scheduler counts it, its own decisions included before the server knows.

No decision is made here and nothing is written. Pods that are finished do not count; pods being deleted do, until
they are gone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clew.api.conditions import condition
from clew.api.objects import Object, dig, is_deleting, labels, name_of, namespace_of, owner_of, uid_of
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.nodes.taints import NOT_READY, UNREACHABLE, UNSCHEDULABLE
from clew.cluster.scheduler.resources import PODS, Resources, allocatable, requests, weight

HostPort = tuple[str, str, int]  # address, protocol, port


class Placed:
    """A pod on a node, with what is asked of it again and again worked out once."""

    __slots__ = ("asked", "labels", "namespace", "owner", "pod", "ports", "uid", "weight")

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.uid = uid_of(pod)
        self.namespace = namespace_of(pod)
        self.labels: Mapping[str, str] = labels(pod)
        owner = owner_of(pod)
        self.owner = str(owner["uid"]) if owner else ""
        self.asked: Resources = requests(pod)
        self.weight = weight(pod, self.asked)
        self.ports: tuple[HostPort, ...] = tuple(host_ports(pod))

    @property
    def leaving(self) -> bool:
        return is_deleting(self.pod)

    def terms(self, kind: str, when: str) -> Iterable[Mapping[str, Any]]:
        """Its affinity terms: `podAffinity` or `podAntiAffinity`, `required` or `preferred`."""
        field = f"{when}DuringSchedulingIgnoredDuringExecution"
        found: Iterable[Mapping[str, Any]] = dig(self.pod, "spec", "affinity", kind, field) or ()
        return found


def host_ports(pod: Mapping[str, Any]) -> Iterable[HostPort]:
    spec = pod.get("spec") or {}
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port.get("containerPort") if spec.get("hostNetwork") else 0)
            if number:
                yield str(port.get("hostIP") or "0.0.0.0"), str(port.get("protocol") or "TCP"), int(number)  # noqa: S104  # every address of the node


class Host:
    """A node and its load."""

    __slots__ = ("allocatable", "labels", "load", "name", "node", "owners", "placed", "ports", "taints", "used")

    def __init__(self, node: Object) -> None:
        self.placed: dict[str, Placed] = {}
        self.used: Resources = {}
        self.load = [0, 0]
        self.owners: Counter[str] = Counter()
        self.ports: Counter[HostPort] = Counter()
        self.update(node)

    def update(self, node: Object) -> None:
        self.node = node
        self.name = name_of(node)
        self.labels: Mapping[str, str] = labels(node)
        self.allocatable = allocatable(node)
        self.taints = effective_taints(node)

    def add(self, placed: Placed) -> None:
        if placed.uid in self.placed:
            self.remove(placed.uid)
        self.placed[placed.uid] = placed
        self._count(placed, 1)

    def remove(self, uid: str) -> None:
        placed = self.placed.pop(uid, None)
        if placed is not None:
            self._count(placed, -1)

    def _count(self, placed: Placed, sign: int) -> None:
        for name, value in placed.asked.items():
            self.used[name] = self.used.get(name, 0) + sign * value
        self.load[0] += sign * placed.weight[0]
        self.load[1] += sign * placed.weight[1]
        for port in placed.ports:
            self.ports[port] += sign
        if placed.owner and not placed.leaving:
            self.owners[placed.owner] += sign

    @property
    def room(self) -> int:
        """Pods that still fit by their number."""
        return self.allocatable.get(PODS, 110) - len(self.placed)


def effective_taints(node: Object) -> tuple[Mapping[str, Any], ...]:
    """The node's taints, and those that its conditions will bring as soon as the node controller has seen them."""
    found = list(dig(node, "spec", "taints") or ())
    keys = {(each.get("key"), each.get("effect")) for each in found}
    ready = (condition(node, "Ready") or {}).get("status")
    if ready != "True":
        implied = UNREACHABLE if ready == "Unknown" else NOT_READY
        if (implied, "NoSchedule") not in keys:
            found.append({"key": implied, "effect": "NoSchedule"})
    return tuple(each for each in found if each.get("key") != UNSCHEDULABLE or each.get("effect") != "NoSchedule")


class ClusterState:
    """All hosts. `assume` counts a decision at once; what the server says afterwards replaces it."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._where: dict[str, str] = {}  # uid of a pod to its node
        self._homeless: dict[str, dict[str, Placed]] = {}  # on nodes that are not known (yet)
        self._assumed: set[str] = set()
        self.repelling: dict[str, Placed] = {}  # pods with required anti-affinity, which binds newcomers too

    def put_node(self, node: Object) -> None:
        name = name_of(node)
        if name in self.hosts:
            self.hosts[name].update(node)
            return
        host = self.hosts[name] = Host(node)
        for placed in self._homeless.pop(name, {}).values():
            host.add(placed)

    def drop_node(self, name: str) -> None:
        host = self.hosts.pop(name, None)
        if host is not None and host.placed:
            self._homeless[name] = dict(host.placed)

    def put_pod(self, pod: Object) -> None:
        """As the server has it: bound pods count where they are; others only if we assumed them somewhere."""
        uid, node = uid_of(pod), podlike.node_of(pod)
        if podlike.is_finished(pod):
            self.drop_pod(uid)
        elif node:
            self._assumed.discard(uid)
            self._place(Placed(pod), node)

    def drop_pod(self, uid: str) -> None:
        self._assumed.discard(uid)
        self.repelling.pop(uid, None)
        node = self._where.pop(uid, None)
        if node is None:
            return
        if node in self.hosts:
            self.hosts[node].remove(uid)
        else:
            self._homeless.get(node, {}).pop(uid, None)

    def assume(self, placed: Placed, node: str) -> None:
        self._assumed.add(placed.uid)
        self._place(placed, node)

    def forget(self, uid: str) -> None:
        """The binding was refused."""
        if uid in self._assumed:
            self.drop_pod(uid)

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def _place(self, placed: Placed, node: str) -> None:
        if self._where.get(placed.uid, node) != node:
            self.drop_pod(placed.uid)
        self._where[placed.uid] = node
        if any(placed.terms("podAntiAffinity", "required")):
            self.repelling[placed.uid] = placed
        if node in self.hosts:
            self.hosts[node].add(placed)
        else:
            self._homeless.setdefault(node, {})[placed.uid] = placed

    def node_of(self, uid: str) -> str:
        return self._where.get(uid, "")
