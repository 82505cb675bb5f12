"""A pod's containers over time: starting them when due, probing, stopping, and what they wait for meanwhile."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Protocol, TypeVar

from clew.api.conditions import parse_time
from clew.api.objects import Object, dig
from clew.cluster.images import Image
from clew.cluster.kubelet.backoff import Backoff
from clew.cluster.kubelet.env import ConfigError
from clew.cluster.kubelet.hooks import Execute, HookError, run_hook
from clew.cluster.kubelet.image_pull import PullError
from clew.cluster.kubelet.instances import Instance, PodRecords, pod_labels
from clew.cluster.kubelet.plan import Container, changes
from clew.cluster.kubelet.probes import Kind, Prober, ask
from clew.cluster.kubelet.sandboxes import Sandboxes
from clew.cluster.kubelet.starting import Starter, StartRequest, log_folder
from clew.cluster.kubelet.status import Waiting
from clew.cluster.kubelet.stopping import Stop
from clew.cluster.kubelet.surroundings import Surroundings, Tasks
from clew.cluster.runtime.errors import NodeError, NodeLostError

T = TypeVar("T")
Left = Callable[[], float]

_CONFIG_RETRY = 2.0  # seconds until an object that was missing is looked for again
_START_ERROR = 128


class Pod(Protocol):
    """What containers need of their pod's worker."""

    pod: Object
    records: PodRecords
    around: Surroundings
    starter: Starter
    sandboxes: Sandboxes
    waiting: dict[str, Waiting]
    tasks: Tasks

    @property
    def uid(self) -> str: ...

    @property
    def addresses(self) -> tuple[str, ...]: ...

    def with_addresses(self) -> Object: ...

    def container(self, name: str) -> Container | None: ...

    def left(self) -> float: ...

    def take(self, instance: Instance) -> None: ...

    def wake(self) -> None: ...

    async def unless_ending(self, what: Awaitable[T]) -> T: ...


class ContainerWork:
    """The containers of one pod's worker."""

    def __init__(self, worker: Pod) -> None:
        self._worker = worker
        self._around = worker.around
        self._backoffs: dict[str, Backoff] = {}
        self._due: dict[str, float] = {}
        self._probers: dict[str, Prober] = {}
        self._exits: dict[str, asyncio.Event] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._over = False  # the pod ends: nothing is restarted for its health any more

    # What the plan and the status ask.

    def started(self, name: str) -> bool:
        prober = self._probers.get(name)
        return prober is None or prober.started

    def unready(self) -> frozenset[str]:
        return frozenset(name for name, prober in self._probers.items() if not prober.ready)

    def unstarted(self) -> frozenset[str]:
        return frozenset(name for name, prober in self._probers.items() if not prober.started)

    def dues(self) -> Iterable[float]:
        """When something is to be looked at again; may lie in the past."""
        return self._due.values()

    # Adopting.

    def adopt(self) -> None:
        """Probe what runs already, from what the API was told of it."""
        told = {
            each["name"]: each
            for field in ("containerStatuses", "initContainerStatuses")
            for each in dig(self._worker.pod, "status", field) or ()
        }
        for instance in self._worker.records.instances:
            container = self._worker.container(instance.container)
            if instance.running and container is not None:
                known = told.get(instance.container, {})
                self._probe(container, instance, ready=bool(known.get("ready")), started=bool(known.get("started")))

    # Starting.

    async def start(self, names: Iterable[str]) -> None:
        """Start those that are due; the others' time comes."""
        for name in names:
            container = self._worker.container(name)
            if container is not None and name not in self._stopping and self._is_due(container):
                await self._start(container)

    def _is_due(self, container: Container) -> bool:
        """Whether its pause after the last end is over; says so in the pod's status and Events if not."""
        now = self._around.clock.monotonic()
        name = container.name
        if self._due.get(name, 0.0) > now:
            return False
        latest = self._worker.records.latest(name)
        if latest is None:
            return True
        backoff = self._backoffs.setdefault(name, Backoff())
        ended = parse_time(latest.finished[:19] + "Z") if latest.finished else None
        ago = (self._around.clock.now() - ended).total_seconds() if ended else 0.0
        due = backoff.due(now - ago, now)
        if due > now:
            self._due[name] = due
            meta = self._worker.pod["metadata"]
            about = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
            self._worker.waiting[name] = Waiting(
                "CrashLoopBackOff",
                f"back-off {_duration(backoff.pause)} restarting failed container={name} pod={about}",
            )
            self._tell(container, "Warning", "BackOff", f"Back-off restarting failed container {name} in pod {about}")
            return False
        return True

    async def _start(self, container: Container) -> None:
        name, around, worker = container.name, self._around, self._worker
        self._due.pop(name, None)
        try:
            image = await worker.unless_ending(around.puller.get(container.part_of(worker.pod), container.spec))
            async with around.gate:
                instance = await self._run(container, image)
        except PullError as problem:
            self._wait(name, problem.reason, str(problem), problem.due)
            return
        except ConfigError as problem:
            reason = "CreateContainerError" if str(problem) == "no command specified" else "CreateContainerConfigError"
            self._tell(container, "Warning", "Failed", f"Error: {problem}")
            self._wait(name, reason, str(problem), around.clock.monotonic() + _CONFIG_RETRY)
            return
        except NodeLostError:
            raise
        except NodeError as problem:
            self._could_not_run(container, problem)
            return
        worker.waiting.pop(name, None)
        worker.take(instance)
        self._tell(container, "Normal", "Created", "Container created")
        self._tell(container, "Normal", "Started", "Container started")
        await self._forget_old(name)
        await self._post_start(container, instance)
        self._probe(container, instance)

    async def _run(self, container: Container, image: Image) -> Instance:
        worker = self._worker
        sandbox = worker.records.sandbox
        if sandbox is None or not sandbox.ready:
            raise NodeError("the pod's sandbox is gone")
        target = container.spec.get("targetContainerName")
        aimed = worker.records.latest(target) if target else None
        request = StartRequest(
            worker.with_addresses(), container, sandbox, self._attempt(container),
            aimed.pid if aimed is not None and aimed.running else 0,
        )  # fmt: skip
        latest = worker.records.latest(container.name)
        if latest is not None:
            self._backoffs.setdefault(container.name, Backoff()).started(self._around.clock.monotonic())
        return await worker.starter.start(request, image, worker.sandboxes.group(worker.uid))

    def _attempt(self, container: Container) -> int:
        """How often it has been restarted, this time included; records, or else what the API was told."""
        latest = self._worker.records.latest(container.name)
        if latest is not None:
            return latest.attempt + 1
        for field in ("containerStatuses", "initContainerStatuses"):
            for told in dig(self._worker.pod, "status", field) or ():
                if told["name"] == container.name and told.get("containerID"):
                    return int(told.get("restartCount") or 0) + 1
        return 0

    def _could_not_run(self, container: Container, problem: NodeError) -> None:
        """Recorded as a run that ended at once, as container runtimes do."""
        text = (
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
            f"{problem.message}: unknown"
        )
        self._tell(container, "Warning", "Failed", f"Error: {text}")
        sandbox = self._worker.records.sandbox
        moment = self._around.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._worker.waiting.pop(container.name, None)
        self._worker.take(
            Instance(
                id=secrets.token_hex(32), sandbox=sandbox.id if sandbox else "", container=container.name,
                attempt=self._attempt(container), running=False, started=moment, finished=moment, code=_START_ERROR,
                reason="StartError", message=text, image=container.spec.get("image", ""), spec=changes(container.spec),
            )
        )  # fmt: skip
        self._backoffs.setdefault(container.name, Backoff()).started(self._around.clock.monotonic())

    def _wait(self, name: str, reason: str, message: str, due: float) -> None:
        self._worker.waiting[name] = Waiting(reason, message)
        self._due[name] = due

    async def _forget_old(self, name: str) -> None:
        """The last run before this one is kept, for `kubectl logs --previous`; those before it go."""
        worker = self._worker
        runs = [instance for instance in worker.records.instances if instance.container == name]
        for old in runs[:-2]:
            if old.log:
                await self._around.handle.ask("remove", container=old.id)
                folder = f"{log_folder(pod_labels(worker.pod))}/{name}"
                await self._around.handle.ask("remove_files", folder=folder, prefix=f"{old.attempt}.log")
            worker.records = worker.records.without(old.id)

    # Hooks and probes.

    async def _post_start(self, container: Container, instance: Instance) -> None:
        action = dig(container.spec, "lifecycle", "postStart")
        if not action:
            return
        worker = self._worker
        try:
            await worker.unless_ending(
                run_hook(self._around, container.spec, action, worker.addresses[0], self._executor(instance))
            )
        except HookError as problem:
            self._tell(container, "Warning", "FailedPostStartHook", f"PostStartHook failed: {problem}")
            self.kill(container.name, f"FailedPostStartHook: container {container.name} will be killed")

    def _executor(self, instance: Instance) -> Execute:
        async def execute(argv: list[str], seconds: float) -> tuple[int, str]:
            done = await self._around.handle.ask("exec_wait", container=instance.id, argv=argv, timeout=seconds)
            if done["timed_out"]:
                return 1, f'command timed out: "{" ".join(argv)}" timed out after {_duration(seconds)}'
            return done["code"], done["problem"] or done["output"]

        return execute

    def _probe(self, container: Container, instance: Instance, *, ready: bool = False, started: bool = False) -> None:
        if container.role == "init" or not Prober.wanted(container.spec):
            return
        execute = self._executor(instance)

        async def once(probe: Object) -> str | None:
            return await ask(self._around.handle, container.spec, probe, self._worker.addresses[0], execute)

        prober = self._probers[container.name] = Prober(container.spec, self, once, self._around.clock)
        prober.adopt(ready=ready, started=started)
        prober.start()

    def probe_failed(self, container: str, kind: Kind, why: str) -> None:
        found = self._worker.container(container)
        if found is not None:
            self._tell(found, "Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {why}")

    def probe_changed(self, container: str) -> None:
        del container
        self._worker.wake()

    def probe_condemned(self, container: str, kind: Kind, probe: Object) -> None:
        if self._over:
            return
        grace = probe.get("terminationGracePeriodSeconds")
        self.kill(container, f"Container {container} failed {kind} probe, will be restarted", grace)

    # Ending.

    def exited(self, identity: str) -> None:
        """A run has ended; the records know already."""
        for instance in self._worker.records.instances:
            if instance.id == identity and (prober := self._probers.pop(instance.container, None)) is not None:
                self._worker.tasks.start(prober.stop(), "stop probes")
        if (exit_ := self._exits.get(identity)) is not None:
            exit_.set()

    def kill(self, name: str, message: str, grace: float | None = None) -> None:
        """Begin to end a running container, once; it is restarted if the pod's policy says so."""
        latest, container = self._worker.records.latest(name), self._worker.container(name)
        if latest is None or container is None or not latest.running or name in self._stopping:
            return
        self._tell(container, "Normal", "Killing", message)
        seconds = float(self._worker.pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace)
        until = self._around.clock.monotonic() + seconds
        task = self._worker.tasks.start(
            self._stop(container, latest, lambda: until - self._around.clock.monotonic()), f"stop {name}"
        )
        self._stopping[name] = task
        task.add_done_callback(lambda _: self._stopped(name))

    def _stopped(self, name: str) -> None:
        self._stopping.pop(name, None)
        self._worker.wake()

    def kill_all(self, message: str) -> Awaitable[None]:
        """End every running container; awaited until all are gone."""
        for instance in self._worker.records.instances:
            if instance.running:
                self.kill(instance.container, message)
        return self._all_stopped()

    async def _all_stopped(self) -> None:
        if self._stopping:
            await asyncio.gather(*self._stopping.values(), return_exceptions=True)

    async def end(self) -> None:
        """The pod ends: all containers at once, then sidecars in reverse order, within the pod's grace period."""
        worker = self._worker
        self._over = True
        running = {instance.container: instance for instance in worker.records.instances if instance.running}
        sidecars: list[tuple[Container, Instance]] = []
        rest: list[Awaitable[None]] = []
        for name, instance in running.items():
            container = worker.container(name) or Container(name, "regular", {"name": name}, "Never")
            if name not in self._stopping:
                self._tell(container, "Normal", "Killing", f"Stopping container {name}")
            if container.role == "sidecar":
                sidecars.append((container, instance))
            else:
                rest.append(self._stop(container, instance, worker.left))
        await asyncio.gather(*rest)
        for container, instance in reversed(sidecars):
            await self._stop(container, instance, worker.left)
        for prober in self._probers.values():
            await prober.stop()
        self._probers.clear()

    async def _stop(self, container: Container, instance: Instance, left: Left) -> None:
        ended = self._exits.setdefault(instance.id, asyncio.Event())

        async def wait(seconds: float) -> bool:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
            return not self._is_running(instance.id)

        address = self._worker.addresses[0] if self._worker.addresses else ""
        if not self._is_running(instance.id):
            return
        stop = Stop(self._around, container.part_of(self._worker.pod), container.spec, instance, left)
        await stop.run(wait, self._executor(instance), address)
        self._exits.pop(instance.id, None)

    def _is_running(self, identity: str) -> bool:
        return any(each.id == identity and each.running for each in self._worker.records.instances)

    async def close(self) -> None:
        for prober in self._probers.values():
            await prober.stop()

    def _tell(self, container: Container, type_: str, reason: str, message: str) -> None:
        self._around.tell(container.part_of(self._worker.pod), type_, reason, message)


def _duration(seconds: float) -> str:
    """As Go prints a duration: 10s, 2m40s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
