"""What a pod needs next, from what it asks for and what there is. Pure: current state in, steps out, no history.

The order is Kubernetes' own (pod lifecycle, init and sidecar containers): a sandbox, init containers one after the
other, sidecars among them kept running, then all regular containers at once. Called by the pod's worker after every
change; steps that are under way already are proposed again and known by their container's name.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from clew.api.objects import Object
from clew.base.value import Value
from clew.cluster.kubelet.instances import Instance, PodRecords

Role = Literal["init", "sidecar", "regular", "ephemeral"]


class Container(Value):
    """A container of the pod's spec and what it is there for."""

    name: str
    role: Role
    spec: Object
    policy: str  # Always, OnFailure or Never, of the container or else of the pod

    def part_of(self, pod: Object) -> Object:
        """The pod as an Event is to refer to it: by this container."""
        field = {"regular": "containers", "ephemeral": "ephemeralContainers"}.get(self.role, "initContainers")
        return {**pod, "fieldPath": f"spec.{field}{{{self.name}}}"}


class Kill(Value):
    """A running container that must end, and why (the message of the Event)."""

    name: str
    message: str


class Plan(Value):
    """`renew`: the sandbox there is must go first. `finished`: nothing runs and nothing ever will again."""

    sandbox: bool = False
    renew: bool = False
    start: tuple[str, ...] = ()
    kill: tuple[Kill, ...] = ()
    finished: bool = False


def containers(pod: Object) -> tuple[Container, ...]:
    """Init containers and sidecars, regular ones, ephemeral ones, each group in the spec's order."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy") or "Always"
    found = [_init(each, policy) for each in spec.get("initContainers") or ()]
    found += [
        Container(each["name"], "regular", each, each.get("restartPolicy") or policy) for each in spec["containers"]
    ]
    found += [Container(each["name"], "ephemeral", each, "Never") for each in spec.get("ephemeralContainers") or ()]
    return tuple(found)


def _init(container: Object, policy: str) -> Container:
    """One that is restarted for ever is a sidecar; any other is tried until it succeeds, or once under Never."""
    if container.get("restartPolicy") == "Always":
        return Container(container["name"], "sidecar", container, "Always")
    return Container(container["name"], "init", container, "Never" if policy == "Never" else "OnFailure")


def changes(container: Object) -> str:
    """What, when it changes in a pod's spec, makes a running container be replaced."""
    return str(container.get("image", ""))


def plan(pod: Object, records: PodRecords, started: Callable[[str], bool]) -> Plan:
    """`started(name)` tells whether a running container has passed its startup probe (True without one)."""
    mine = containers(pod)
    if pod["metadata"].get("deletionTimestamp"):
        return Plan()
    sandbox = records.sandbox
    if sandbox is None or not sandbox.ready:
        return _without_sandbox(mine, records)
    return _Steps(mine, records, sandbox.id, started).plan()


def _without_sandbox(mine: tuple[Container, ...], records: PodRecords) -> Plan:
    running = {instance.container for instance in records.instances if instance.running}
    kill = tuple(
        Kill(each.name, "Pod sandbox changed, it will be killed and re-created.")
        for each in mine
        if each.name in running
    )
    regular = [each for each in mine if each.role == "regular"]
    began = records.sandbox is not None and bool(records.instances)
    wanted = not began or any(_again(each, records.latest(each.name)) for each in regular)
    if began and all(each.policy == "Never" for each in regular):
        wanted = False  # what has begun once and may not begin again is over
    return Plan(sandbox=wanted, renew=records.sandbox is not None, kill=kill, finished=not wanted and not running)


def _again(container: Container, latest: Instance | None) -> bool:
    """Whether a container that does not run is to be started."""
    if latest is None or latest.running:
        return True
    if container.policy == "OnFailure":
        return latest.code != 0
    return container.policy == "Always"


class _Steps:
    """The plan of a pod that has its sandbox."""

    def __init__(
        self, mine: tuple[Container, ...], records: PodRecords, sandbox: str, started: Callable[[str], bool]
    ) -> None:
        self._mine = mine
        self._records = records
        self._sandbox = sandbox
        self._started = started

    def plan(self) -> Plan:
        start: list[str] = []
        regular = [each for each in self._mine if each.role == "regular"]
        begun = any(self._here(each) is not None for each in regular)
        ready, failed = self._initialize(start, begun=begun)
        if failed:
            return self._wind_down(())
        if ready:
            start += [each.name for each in regular if self._should_start(each)]
        start += [each.name for each in self._mine if each.role == "ephemeral" and self._here(each) is None]
        over = ready and all(self._is_over(each) for each in regular)
        if over:
            return self._wind_down(tuple(self._replaced()))
        return Plan(start=tuple(start), kill=tuple(self._replaced()))

    def _initialize(self, start: list[str], *, begun: bool) -> tuple[bool, bool]:
        """(all have done their work, one has failed for good); what to start now is added to `start`."""
        for each in self._mine:
            if each.role not in {"init", "sidecar"}:
                continue
            latest = self._here(each)
            if each.role == "sidecar":
                if latest is None or not latest.running:
                    start.append(each.name)
                if not begun and not (latest is not None and latest.running and self._started(each.name)):
                    return False, False
            elif begun or (latest is not None and not latest.running and latest.code == 0):
                continue
            elif latest is not None and latest.running:
                return False, False
            elif latest is not None and each.policy == "Never":
                return False, True
            else:
                start.append(each.name)
                return False, False
        return True, False

    def _here(self, container: Container) -> Instance | None:
        """Its latest run in this sandbox; earlier sandboxes' init containers do not count."""
        latest = self._records.latest(container.name)
        if latest is None or latest.sandbox == self._sandbox:
            return latest
        return latest if container.role == "regular" and not _again(container, latest) else None

    def _should_start(self, container: Container) -> bool:
        latest = self._here(container)
        return latest is None or (not latest.running and _again(container, latest))

    def _is_over(self, container: Container) -> bool:
        latest = self._here(container)
        return latest is not None and not latest.running and not _again(container, latest)

    def _replaced(self) -> Iterator[Kill]:
        for each in self._mine:
            latest = self._here(each)
            if each.role not in {"regular", "sidecar"} or latest is None or not latest.running:
                continue
            if latest.spec and latest.spec != changes(each.spec):
                yield Kill(each.name, f"Container {each.name} definition changed, will be restarted")

    def _wind_down(self, kills: tuple[Kill, ...]) -> Plan:
        """The work is done or has failed: sidecars and debuggers go, then nothing is left."""
        running = [each for each in self._mine if (latest := self._here(each)) is not None and latest.running]
        rest = tuple(Kill(each.name, f"Stopping container {each.name}") for each in running)
        return Plan(kill=(*kills, *rest), finished=not rest)
