"""One pod's worker: makes what runs equal to what the pod asks for, and keeps its status true.

Level-triggered: whatever happened, it looks at the whole of what there is, lets `plan` say what is next, does it, and
writes the status where it changed. It runs as long as the pod is on this node and ends by removing every trace of it.
Nothing healthy is ever touched because the daemon was restarted: the records say what runs already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from clew.api.conditions import parse_time
from clew.api.objects import Object, dig
from clew.base.errors import WorldError
from clew.cluster.kubelet import messages
from clew.cluster.kubelet.backoff import Backoff
from clew.cluster.kubelet.cni import CniError
from clew.cluster.kubelet.containers import ContainerWork
from clew.cluster.kubelet.ending import end_pod
from clew.cluster.kubelet.instances import Instance, PodRecords, Sandbox, instance_of, pod_labels
from clew.cluster.kubelet.plan import Container, Plan, containers, plan
from clew.cluster.kubelet.reporting import Reporter
from clew.cluster.kubelet.sandboxes import SandboxError, Sandboxes
from clew.cluster.kubelet.starting import Starter
from clew.cluster.kubelet.surroundings import Surroundings, Tasks
from clew.cluster.kubelet.volume_setup import VolumeSetup
from clew.cluster.kubelet.volumes import MountError
from clew.cluster.runtime.errors import NodeLostError
from clew.watch.backoff import between

if TYPE_CHECKING:
    from clew.cluster.kubelet.status import Waiting

logger = logging.getLogger(__name__)
T = TypeVar("T")

_REFRESH = (45.0, 75.0)  # seconds between two looks at the objects behind a pod's volumes
_NEVER = 3600.0


class Ending(Exception):  # noqa: N818 - not a failure: the pod is to end, whatever was under way is left
    """Raised inside a sync when the pod is told to end."""


class PodWorker:
    """`records` is what the node knows of the pod already; `refused` why it may not run here, if so."""

    def __init__(
        self, around: Surroundings, starter: Starter, sandboxes: Sandboxes, pod: Object, records: PodRecords,
        refused: tuple[str, str] = ("", ""),
    ) -> None:  # fmt: skip
        self.around = around
        self.starter = starter
        self.sandboxes = sandboxes
        self.pod = pod
        self.records = records
        self.failure = refused
        self.gone = False  # no longer in the API
        self.finished = dig(pod, "status", "phase") in {"Succeeded", "Failed"}
        self.waiting: dict[str, Waiting] = {}
        self.work = ContainerWork(self)
        self._changed = asyncio.Event()
        self._changed.set()
        self._ending = asyncio.Event()
        self._deadline = 0.0
        self._reporter = Reporter(self)
        self._mount_pause = Backoff(0.5, 10.0)
        self._sandbox_pause = Backoff(0.5, 10.0)
        self._pause_until = 0.0
        self._refresh_at = 0.0
        self._looked = 0.0
        self._volumes_made = bool(records.instances)
        if not self._volumes_made:  # its ConfigMaps are those of now, also where they have just been changed
            around.volumes.forget()
        self.tasks = Tasks()
        self._note_ending()

    # What happens to the pod; called by the kubelet.

    def update(self, pod: Object) -> None:
        if _told_by_volumes(pod) != _told_by_volumes(self.pod):
            self.around.volumes.forget()
            self._refresh_at = min(self._refresh_at, self.around.clock.monotonic())
        self.pod = pod
        self._note_ending()
        self.wake()

    def vanish(self) -> None:
        """It is not in the API any more: end it without ceremony."""
        self.gone = True
        self._note_ending()
        self.wake()

    def wake(self) -> None:
        self._changed.set()

    def network_changed(self) -> None:
        """The node's network has become ready or not: what waited for it need not wait out its pause."""
        self._pause_until = 0.0
        self.wake()

    def exited(self, record: Mapping[str, Any]) -> None:
        """One of its containers has ended."""
        self.take(instance_of(record, messages.termination_message(self.around, self.pod, record)))
        self.work.exited(record["id"])

    def sandbox_lost(self, sandbox: Sandbox) -> None:
        self.records = self.records.in_sandbox(sandbox)
        self.wake()

    def take(self, instance: Instance) -> None:
        """Believe this of a run from now on."""
        self.records = self.records.having(instance)
        self.wake()

    # What it is.

    @property
    def uid(self) -> str:
        return self.records.uid

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's; what the status says already once the sandbox is gone."""
        sandbox = self.records.sandbox
        if sandbox is not None and sandbox.addresses:
            return sandbox.addresses
        if self.pod["spec"].get("hostNetwork") and sandbox is not None:
            return self.around.config.addresses
        return tuple(each["ip"] for each in dig(self.pod, "status", "podIPs") or ())

    def with_addresses(self) -> Object:
        """The pod as the downward API sees it: with the addresses that it has now."""
        ips, hosts = self.addresses, self.around.config.addresses
        known = {
            "podIP": ips[0] if ips else "", "podIPs": [{"ip": ip} for ip in ips],
            "hostIP": hosts[0] if hosts else "", "hostIPs": [{"ip": ip} for ip in hosts],
        }  # fmt: skip
        return {**self.pod, "status": {**(self.pod.get("status") or {}), **known}}

    def container(self, name: str) -> Container | None:
        return next((each for each in containers(self.pod) if each.name == name), None)

    def left(self) -> float:
        """Seconds of grace that remain while the pod ends."""
        return self._deadline - self.around.clock.monotonic()

    def _note_ending(self) -> None:
        meta = self.pod["metadata"]
        if self.gone:
            grace = 1.0
        elif meta.get("deletionTimestamp"):
            given = meta.get("deletionGracePeriodSeconds")
            grace = float(self.pod["spec"].get("terminationGracePeriodSeconds", 30) if given is None else given)
        else:
            return
        until = self.around.clock.monotonic() + grace
        self._deadline = min(self._deadline, until) if self.ending else until
        self._ending.set()

    # The loop.

    async def run(self) -> None:
        """Until the pod is gone from this node."""
        self.work.adopt()
        try:
            while await self._wait():
                with suppress(Ending):
                    await self._attempt()
                await self.report()
            await end_pod(self)
        finally:
            await self.tasks.end()
            await self.work.close()

    async def unless_ending(self, what: Awaitable[T]) -> T:
        """Await something that may take long; Ending as soon as the pod is told to end."""
        task = asyncio.ensure_future(what)
        told = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Ending
            return task.result()
        finally:
            told.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _wait(self) -> bool:
        """Until something happens or is due; False once the pod is to end.

        Due is what lies behind the last look, even if it is past by now: what was a moment early then is not forgotten.
        """
        now = self.around.clock.monotonic()
        due = min([now + _NEVER, *(each for each in (*self.work.dues(), *self._dues(now)) if each > self._looked)])
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - now)):
                await self._changed.wait()
        self._changed.clear()
        self._looked = self.around.clock.monotonic()
        return not self.ending

    def _dues(self, now: float) -> list[float]:
        found = [self._pause_until, self._refresh_at]
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        begun = parse_time(dig(self.pod, "status", "startTime"))
        if limit is not None and begun is not None and not self.finished:
            found.append(now + max(0.0, limit - (self.around.clock.now() - begun).total_seconds()))
        return found

    async def _attempt(self) -> None:
        """One sync; what the world refuses is told and tried again later."""
        try:
            await self._sync()
        except NodeLostError:
            raise
        except MountError as problem:
            text = f'MountVolume.SetUp failed for volume "{problem.volume}" : {problem}'
            self._pause("FailedMount", text, self._mount_pause)
        except SandboxError as problem:
            if problem.left is not None:
                self.records = self.records.in_sandbox(problem.left)
            self._pause(problem.reason, str(problem), self._sandbox_pause)
        except CniError as problem:
            text = (
                f'error killing pod: failed to "KillPodSandbox" for "{self.uid}" with KillPodSandboxError: "{problem}"'
            )
            self._pause("FailedKillPod", text, self._sandbox_pause)
        except WorldError as problem:
            logger.warning("pod %s/%s: %s", self.records.namespace, self.records.name, problem)
            self._pause("", "", self._sandbox_pause)

    def pause(self, seconds: float) -> None:
        """Try nothing before this long has passed."""
        self._pause_until = max(self._pause_until, self.around.clock.monotonic() + seconds)

    def _pause(self, reason: str, message: str, backoff: Backoff) -> None:
        if reason:
            self.around.tell(self.pod, "Warning", reason, message)
        now = self.around.clock.monotonic()
        backoff.started(now)
        self._pause_until = now + backoff.pause

    async def _sync(self) -> None:
        if self.failure[0] or self._too_long():
            await self._finish(self.work.kill_all("Pod was active on the node longer than the specified deadline"))
            return
        if self.finished:
            await self._finish(())
            return
        if self.around.clock.monotonic() < self._pause_until:
            return
        await self._refresh()
        steps = plan(self.pod, self.records, self.work.started)
        for kill in steps.kill:
            self.work.kill(kill.name, kill.message)
        if steps.finished:
            self.finished = True
            await self._finish(())
        elif steps.sandbox and not any(instance.running for instance in self.records.instances):
            await self._make_sandbox(steps)
        elif steps.start:
            await self._make_volumes()
            await self.work.start(steps.start)

    def _too_long(self) -> bool:
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        begun = parse_time(dig(self.pod, "status", "startTime"))
        if limit is None or begun is None or self.finished:
            return False
        if (self.around.clock.now() - begun).total_seconds() < limit:
            return False
        self.failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        return True

    async def _make_sandbox(self, steps: Plan) -> None:
        old = self.records.sandbox
        if old is None:
            self.tasks.start(self.report(), "first status")
        self.sandboxes.check_network(self.pod)
        if steps.renew:
            if self.records.instances:
                self.around.tell(
                    self.pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
                )
            await self.remove_sandboxes()
            self._volumes_made = False
        await self._make_volumes()
        async with self.around.gate:
            if self.ending:
                raise Ending
            attempt = old.attempt + 1 if old is not None else 0
            made = await self.sandboxes.create(self.pod, attempt)
        self.records = self.records.in_sandbox(made)
        self._sandbox_pause = Backoff(0.5, 10.0)
        self.wake()

    async def _make_volumes(self) -> None:
        if self._volumes_made:
            return
        await self.around.volumes.make(self.with_addresses())
        self._volumes_made = True
        self._mount_pause = Backoff(0.5, 10.0)
        self._plan_refresh()

    def _plan_refresh(self) -> None:
        if VolumeSetup.changeable(self.pod):
            self._refresh_at = self.around.clock.monotonic() + between(*_REFRESH)

    async def _refresh(self) -> None:
        """Bring the volumes that show objects up to date, when it is time to."""
        if not self._volumes_made:
            return
        if not self._refresh_at:
            self._plan_refresh()
        if self._refresh_at and self.around.clock.monotonic() >= self._refresh_at:
            self._plan_refresh()
            try:
                await self.around.volumes.refresh(self.with_addresses())
            except MountError as problem:
                text = f'MountVolume.SetUp failed for volume "{problem.volume}" : {problem}'
                self.around.tell(self.pod, "Warning", "FailedMount", text)

    async def _finish(self, kills: Awaitable[None] | tuple[()]) -> None:
        """Nothing will run again: end what does and give the network back; records and logs stay."""
        if not isinstance(kills, tuple):
            await kills
        self.finished = True
        await self.report()
        for sandbox in self.records.sandboxes:
            if sandbox.ready or sandbox.netns:
                await self.remove_sandboxes()
                break

    # What it shows, and what it holds.

    async def report(self) -> None:
        await self._reporter.report()

    async def remove_sandboxes(self) -> None:
        for sandbox in self.records.sandboxes:
            await self.sandboxes.remove(sandbox, pod_labels(self.pod))
            self.records = self.records.without_sandbox(sandbox.id)


def _told_by_volumes(pod: Object) -> tuple[Object, Object]:
    """Of a pod itself, what its volumes may show. To touch an annotation has always been the way to hurry them."""
    return pod["metadata"].get("labels") or {}, pod["metadata"].get("annotations") or {}
