"""What a DaemonSet does next: pods to make and to delete, one node at a time decided, and its status. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from clew.api.objects import Object, dig, is_deleting, labels, metadata, name_of
from clew.base.value import Value
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.daemonset.placement import HASH_LABEL, belongs, node_of, tolerant
from clew.cluster.controllers.deployment.rollout import scaled

BURST = 250


class Plan(Value):
    create: tuple[str, ...] = ()  # nodes
    delete: tuple[Object, ...] = ()
    failed: tuple[Object, ...] = ()  # of `delete`: died by themselves, and told of


class Scene(Value):
    """A DaemonSet, the nodes, and its pods by the node that they are on or meant for."""

    daemon_set: Object
    nodes: Sequence[Object]
    pods: Mapping[str, Sequence[Object]]
    revision_hash: str
    now: datetime

    @property
    def min_ready(self) -> int:
        return int(dig(self.daemon_set, "spec", "minReadySeconds") or 0)

    def wanted_on(self) -> dict[str, tuple[bool, bool]]:
        """By node: (a pod should be there, one may stay)."""
        spec = tolerant(dig(self.daemon_set, "spec", "template", "spec") or {})
        return {name_of(node): belongs(spec, node) for node in self.nodes}

    def is_available(self, pod: Object) -> bool:
        return podlike.is_available(pod, self.min_ready, self.now)

    def is_current(self, pod: Object) -> bool:
        return labels(pod).get(HASH_LABEL) == self.revision_hash


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(node_of(pod), []).append(pod)
    return found


def plan(scene: Scene) -> Plan:
    """First the right nodes; when nothing is amiss there, the right template."""
    if is_deleting(scene.daemon_set):
        return Plan()
    wanted = scene.wanted_on()
    create: list[str] = []
    delete: list[Object] = []
    failed: list[Object] = []
    for node, placed in wanted.items():
        _at(scene, node, placed, (create, delete, failed))
    for node, pods in scene.pods.items():
        if node not in wanted:  # a node that is gone, or not any more one of ours
            delete.extend(pod for pod in pods if not is_deleting(pod) and not podlike.node_of(pod))
    if not delete:
        update = _update(scene, wanted)
        create.extend(node for node in update.create if node not in create)
        delete.extend(update.delete)
    return Plan(tuple(create[:BURST]), tuple(delete[:BURST]), tuple(failed))


def _at(scene: Scene, node: str, placed: tuple[bool, bool], out: tuple[list[str], list[Object], list[Object]]) -> None:
    should, may = placed
    create, delete, failed = out
    pods = scene.pods.get(node, ())
    live = [pod for pod in pods if not is_deleting(pod)]
    if should and not pods:
        create.append(node)
    elif may:
        dead = [pod for pod in live if podlike.phase(pod) == "Failed"]
        done = [pod for pod in live if podlike.phase(pod) == "Succeeded"]
        failed.extend(dead)
        delete.extend([*dead, *done])
        running = sorted((pod for pod in live if not podlike.is_finished(pod)), key=_seniority)
        delete.extend(running[1:] if _surge(scene) == 0 else _surplus(scene, running))
    else:
        delete.extend(live)


def _seniority(pod: Object) -> tuple[bool, str, str]:
    """Who stays when there are two: bound before unbound, older before younger."""
    return not podlike.node_of(pod), metadata(pod).get("creationTimestamp") or "", name_of(pod)


def _surplus(scene: Scene, running: Sequence[Object]) -> list[Object]:
    """With surge one old and one new pod may share a node; an old one goes when a new one is available."""
    old = [pod for pod in running if not scene.is_current(pod)]
    new = [pod for pod in running if scene.is_current(pod)]
    surplus = [*old[1:], *new[1:]]
    if old and new and scene.is_available(new[0]):
        surplus.append(old[0])
    return surplus


def _strategy(scene: Scene, field: str, default: int, *, up: bool) -> int:
    rolling = dig(scene.daemon_set, "spec", "updateStrategy", "rollingUpdate") or {}
    desired = sum(1 for should, _ in scene.wanted_on().values() if should)
    value = rolling.get(field)
    return scaled(default if value is None else value, desired, up=up)


def _surge(scene: Scene) -> int:
    return _strategy(scene, "maxSurge", 0, up=True) if _rolls(scene) else 0


def _rolls(scene: Scene) -> bool:
    return bool((dig(scene.daemon_set, "spec", "updateStrategy", "type") or "RollingUpdate") == "RollingUpdate")


def _update(scene: Scene, wanted: Mapping[str, tuple[bool, bool]]) -> Plan:
    """Replace pods of an older template: what is not available at once, the rest within maxUnavailable (or surge)."""
    if not _rolls(scene):
        return Plan()
    surge = _surge(scene)
    if surge:
        return _surged(scene, wanted, surge)
    unavailable, useless, useful = 0, list[Object](), list[Object]()
    for node, (should, _) in wanted.items():
        if not should:
            continue
        live = [pod for pod in scene.pods.get(node, ()) if not is_deleting(pod)]
        pod = live[0] if live else None
        if pod is None or not scene.is_available(pod):
            unavailable += 1
        if pod is not None and not scene.is_current(pod):
            (useful if scene.is_available(pod) else useless).append(pod)
    most = max(1, _strategy(scene, "maxUnavailable", 1, up=True))
    return Plan(delete=(*useless, *useful[: max(0, most - unavailable)]))


def _surged(scene: Scene, wanted: Mapping[str, tuple[bool, bool]], surge: int) -> Plan:
    """A second pod beside the old one, on so many nodes at once."""
    busy, old_only, useless = 0, list[str](), list[Object]()
    for node, (should, _) in wanted.items():
        live = [pod for pod in scene.pods.get(node, ()) if not is_deleting(pod)]
        old = [pod for pod in live if not scene.is_current(pod)]
        if not should or not old:
            continue
        if len(old) < len(live):
            busy += 1
        elif not scene.is_available(old[0]):
            useless.append(old[0])
        else:
            old_only.append(node)
    return Plan(tuple(old_only[: max(0, surge - busy)]), tuple(useless))


def status(scene: Scene) -> Object:
    """The numbers that `kubectl get ds` and `rollout status` show."""
    found = dict.fromkeys(
        (
            "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
            "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
        ), 0,
    )  # fmt: skip
    for node, (should, _) in scene.wanted_on().items():
        pods = sorted((pod for pod in scene.pods.get(node, ()) if not is_deleting(pod)), key=_seniority)
        if not should:
            found["numberMisscheduled"] += bool(pods)
            continue
        found["desiredNumberScheduled"] += 1
        found["currentNumberScheduled"] += bool(pods)
        ready = [pod for pod in pods if podlike.is_ready(pod)]
        found["numberReady"] += bool(ready)
        found["numberAvailable"] += any(scene.is_available(pod) for pod in ready)
        found["updatedNumberScheduled"] += any(scene.is_current(pod) for pod in pods)
    found["numberUnavailable"] = found["desiredNumberScheduled"] - found["numberAvailable"]
    found["observedGeneration"] = int(metadata(scene.daemon_set).get("generation") or 0)
    collisions: Any = dig(scene.daemon_set, "status", "collisionCount")
    return found | ({"collisionCount": collisions} if collisions else {})


def available_soon(scene: Scene) -> float | None:
    """Seconds until the next ready pod counts as available."""
    pods = (pod for found in scene.pods.values() for pod in found)
    waits = [wait for pod in pods if (wait := podlike.available_in(pod, scene.min_ready, scene.now))]
    return min(waits, default=None)
