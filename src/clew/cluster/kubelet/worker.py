"""One pod on its node, from its sandbox to its end: looked at again whenever something about it changed."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from clew.api.kinds import POD
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.base.errors import WorldError
from clew.cluster.images.image import ImageError
from clew.cluster.kubelet.containers import ContainerUnit
from clew.cluster.kubelet.env import ConfigError
from clew.cluster.kubelet.maker import ContainerMaker
from clew.cluster.kubelet.sandbox import Sandbox
from clew.cluster.kubelet.status import pod_status
from clew.watch.client import STRATEGIC
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.cluster.kubelet.kubelet import Kubelet

logger = logging.getLogger(__name__)
_FIRST_BACKOFF, _LONGEST_BACKOFF, _FORGIVEN = 10.0, 300.0, 600.0  # seconds


class PodWorker:
    def __init__(self, kubelet: "Kubelet", pod: Object, records: list[dict[str, Any]]) -> None:
        self.kubelet = kubelet
        self.pod = pod
        self.sandbox = Sandbox(kubelet, pod, next((r for r in records if r["labels"].get("role") == "pause"), None))
        self.maker = ContainerMaker(kubelet, self)
        spec = pod["spec"]
        self.init = [ContainerUnit(self, each, is_init=True) for each in spec.get("initContainers") or []]
        self.regular = [ContainerUnit(self, each) for each in spec["containers"]]
        for unit in (*self.init, *self.regular):
            unit.adopt([r for r in records if r["labels"].get("container") == unit.name])
        self.deleted = False
        self._changed = asyncio.Event()
        self._changed.set()
        self._written: Object | None = None
        self._events: set[asyncio.Task[None]] = set()

    # What happens to the pod.

    def update(self, pod: Object) -> None:
        self.pod = pod
        self._changed.set()

    def gone(self) -> None:
        self.deleted = True
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    def exited(self, record: dict[str, Any]) -> None:
        """A container's process has ended."""
        if record["labels"].get("role") == "pause":
            self.sandbox.died(record)
        for unit in (*self.init, *self.regular):
            unit.ended(record)
        self._changed.set()

    def event(self, kind: str, reason: str, message: str) -> None:
        """Said without waiting for it."""
        task = asyncio.ensure_future(self.kubelet.recorder.record(self.pod, kind, reason, message))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    # The loop.

    @property
    def terminating(self) -> bool:
        return self.deleted or "deletionTimestamp" in self.pod["metadata"]

    async def run(self) -> None:
        pause = 0.0
        while True:
            wait = pause or self._next_timer()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                if self.terminating:
                    await self._terminate()
                    return
                await self._sync()
                pause = 0.0
            except ConfigError as error:
                logger.info("pod %s: %s", self.pod["metadata"]["name"], error)
                pause = 2.0
            except WorldError as error:
                logger.warning("pod %s/%s: %s", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"], error)
                pause = min(max(pause * 2, 0.5), 20.0)
            await self._report()

    def _next_timer(self) -> float:
        """Seconds until a container may be started again."""
        now = time.monotonic()
        dues = [unit.not_before - now for unit in (*self.init, *self.regular) if unit.not_before]
        return max(min(dues, default=300.0), 0.05)

    async def _sync(self) -> None:
        if self._is_over():
            return
        if not await self.sandbox.ensure(self):
            return
        await self.maker.prepare()
        for unit in self.init:
            if unit.succeeded or (unit.is_sidecar and unit.is_running and unit.started):
                continue
            await self._drive(unit)
            return
        for unit in self.regular:
            await self._drive(unit)

    def _is_over(self) -> bool:
        return (self.pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"} and not any(
            unit.is_running for unit in self.regular
        )

    async def _drive(self, unit: ContainerUnit) -> None:
        """Start the container if it should run and does not, when its time has come."""
        if unit.is_running or not unit.should_run(self.pod["spec"].get("restartPolicy", "Always")):
            return
        if unit.current is not None and unit.not_before is None:
            self._back_off(unit)
        if unit.not_before and time.monotonic() < unit.not_before:
            return
        try:
            async with self.kubelet.gate:
                await unit.start(self.maker)
        except ImageError as error:
            self._image_failed(unit, error)
        except ConfigError as error:
            unit.wait_for("CreateContainerConfigError", str(error))
            self.event("Warning", "Failed", f"Error: {error}")
            raise
        except WorldError as error:
            unit.wait_for("RunContainerError", str(error))
            self.event("Warning", "Failed", f"Error: {error}")
            self._delay(unit)

    def _back_off(self, unit: ContainerUnit) -> None:
        """The first restart is at once, later ones wait longer and longer; ten good minutes forgive."""
        record = unit.current or {}
        lived = record.get("finished", 0.0) - record.get("started", 0.0)
        if lived > _FORGIVEN:
            unit.delay = 0.0
        if unit.is_init or unit.restarts or lived < 1.0:
            self._delay(unit)
            if unit.restarts or unit.delay > _FIRST_BACKOFF:
                name = (
                    f"{self.pod['metadata']['name']}_{self.pod['metadata']['namespace']}({self.pod['metadata']['uid']})"
                )
                unit.wait_for(
                    "CrashLoopBackOff", f"back-off {unit.delay:.0f}s restarting failed container={unit.name} pod={name}"
                )
                self.event("Warning", "BackOff", f"Back-off restarting failed container {unit.name} in pod {name}")
        else:
            unit.not_before = time.monotonic()

    def _delay(self, unit: ContainerUnit) -> None:
        unit.delay = min(max(unit.delay * 2, _FIRST_BACKOFF), _LONGEST_BACKOFF)
        unit.not_before = time.monotonic() + unit.delay

    def _image_failed(self, unit: ContainerUnit, error: ImageError) -> None:
        image = unit.container["image"]
        if not unit.image_failures:
            unit.wait_for(error.reason, error.message)
            self.event("Warning", "Failed", f'Failed to pull image "{image}": {error.message}')
            self.event("Warning", "Failed", f"Error: {error.reason}")
            unit.not_before = time.monotonic() + 1.0
        else:
            self._delay(unit)
            reason = "ImagePullBackOff" if error.reason == "ErrImagePull" else error.reason
            unit.wait_for(reason, f'Back-off pulling image "{image}": {error.reason}: {error.message}')
            self.event("Normal", "BackOff", f'Back-off pulling image "{image}"')
        unit.image_failures += 1

    # Telling.

    async def _report(self) -> None:
        """Write the status where it changed."""
        if self.deleted:
            return
        now = rfc3339(self.kubelet.clock.now())
        status = pod_status(
            self.pod, [unit.state() for unit in self.init], [unit.state() for unit in self.regular],
            self.sandbox.ips, self.kubelet.config.addresses, now,
        )  # fmt: skip
        if status == self._written:
            return
        meta = self.pod["metadata"]
        try:
            await self.kubelet.client.patch(
                POD, meta["name"], {"status": status, "metadata": {"uid": meta["uid"]}}, meta["namespace"],
                subresource="status", content_type=STRATEGIC,
            )  # fmt: skip
        except ApiError as error:
            if not error.not_found and not error.conflict:
                logger.warning("status of pod %s not written: %s", meta["name"], error)
                asyncio.get_running_loop().call_later(1.0, self._changed.set)
            return
        self._written = status
        self.pod = {**self.pod, "status": {**(self.pod.get("status") or {}), **status}}

    # The end.

    async def _terminate(self) -> None:
        spec, meta = self.pod["spec"], self.pod["metadata"]
        grace = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
        running = [unit for unit in (*self.regular, *self.init) if unit.is_running]
        for unit in running:
            self.event("Normal", "Killing", f"Stopping container {unit.name}")
        await asyncio.gather(*(unit.stop(0 if self.deleted else float(grace)) for unit in running))
        for unit in (*self.regular, *self.init):
            await unit.remove()
        await self.sandbox.remove()
        await asyncio.to_thread(self.maker.clean)
        while not self.deleted:
            await self._report()
            try:
                await self.kubelet.client.delete(POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_period=0)
                return
            except ApiError as error:
                if error.not_found or error.conflict:
                    return
                logger.warning("pod %s not deleted yet: %s", meta["name"], error)
                await self.kubelet.clock.sleep(1.0)
