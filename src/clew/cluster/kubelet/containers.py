"""A pod's containers: each unit's instances over time, their starts, probes and ends."""

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clew.api.objects import Object
from clew.cluster.kubelet.probes import Prober, ask
from clew.cluster.kubelet.status import ContainerState
from clew.cluster.oci.spec import ContainerSpec, process

if TYPE_CHECKING:
    from clew.cluster.images.image import Image
    from clew.cluster.kubelet.maker import ContainerMaker
    from clew.cluster.kubelet.worker import PodWorker

_MESSAGE_MOST = 4096  # bytes of a termination message
_TOKEN_SHARE = 0.8  # of a token's life after which it is renewed


class ContainerUnit:
    """One container of a pod's spec."""

    def __init__(self, worker: "PodWorker", container: Object, *, is_init: bool = False) -> None:
        self.worker = worker
        self.container = container
        self.name: str = container["name"]
        self.is_init = is_init
        self.is_sidecar = is_init and container.get("restartPolicy") == "Always"
        self.current: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.attempts = 0
        self.waiting, self.message = "", ""
        self.not_before: float | None = None
        self.delay = 0.0
        self.image_failures = 0
        self.image: Image | None = None
        self.spec: ContainerSpec | None = None
        self.prober: Prober | None = None
        self.exit = asyncio.Event()

    def adopt(self, records: list[dict[str, Any]]) -> None:
        """Take over what a former kubelet started."""
        ordered = sorted(records, key=lambda record: int(record["labels"]["attempt"]))
        if ordered:
            self.current = ordered[-1]
            self.last = ordered[-2] if len(ordered) > 1 else None
            self.attempts = int(self.current["labels"]["attempt"]) + 1

    @property
    def restarts(self) -> int:
        return max(self.attempts - 1, 0)

    @property
    def is_running(self) -> bool:
        return self.current is not None and self.current["state"] == "running"

    @property
    def succeeded(self) -> bool:
        return self.current is not None and self.current["state"] == "exited" and not self.current.get("code")

    @property
    def started(self) -> bool:
        return self.is_running and (self.prober is None or self.prober.started)

    def should_run(self, policy: str) -> bool:
        """Whether it is to be started, now that it does not run."""
        if self.current is None or self.is_sidecar:
            return True
        if self.is_init:
            return not self.succeeded and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and not self.succeeded)

    def wait_for(self, reason: str, message: str) -> None:
        self.waiting, self.message = reason, message

    def ended(self, record: dict[str, Any]) -> None:
        if self.current is not None and record["id"] == self.current["id"]:
            self.exit.set()
            self.current = {**record, "message": self.worker.maker.termination_message(self)}
            self.not_before = None
            prober, self.prober = self.prober, None
            if prober is not None:
                asyncio.ensure_future(prober.stop())  # noqa: RUF006 - it only ends itself

    def state(self) -> ContainerState:
        waiting, message = self.waiting, self.message
        if self.current is None and not waiting:
            waiting = "PodInitializing" if self.worker.init and not self.is_init else "ContainerCreating"
        ready = self.is_running and (self.prober is None or (self.prober.started and self.prober.ready))
        if self.is_init and not self.is_sidecar:
            ready = self.succeeded
        return ContainerState(
            self.name, self.container["image"], self.current, self.last, self.restarts, waiting, message, ready,
            self.started, self.image.id if self.image else (self.current or {}).get("labels", {}).get("image", ""),
        )  # fmt: skip

    async def start(self, maker: "ContainerMaker") -> None:
        """A fresh instance; ImageError, ConfigError or NodeError where it cannot be."""
        policy = self.container.get("imagePullPolicy", "IfNotPresent")
        if self.image is None:
            self.worker.event("Normal", "Pulling", f'Pulling image "{self.container["image"]}"')
        image = await maker.kubelet.images.ensure(self.container["image"], policy)
        if self.image is None:
            self.worker.event("Normal", "Pulled", f'Successfully pulled image "{self.container["image"]}"')
            if image.stand_in:
                self.worker.event("Normal", "StandIn", image.stand_in)
        self.image = image
        request = await maker.request(self, image)
        old = self.last
        record = await maker.kubelet.handle.ask("run", **request)
        self.worker.event("Normal", "Created", f"Created container: {self.name}")
        self.worker.event("Normal", "Started", f"Started container {self.name}")
        self.last, self.current = self.current, record
        self.exit.clear()
        self.attempts += 1
        self.waiting, self.message, self.not_before, self.image_failures = "", "", None, 0
        self._probe()
        if old is not None:
            await maker.kubelet.handle.ask("remove", id=old["id"])

    def _probe(self) -> None:
        kinds = ("startupProbe", "readinessProbe", "livenessProbe")
        if not any(self.container.get(kind) for kind in kinds):
            return

        async def once(probe: Object) -> str:
            ip = self.worker.sandbox.ips[0]
            return await ask(self.worker.kubelet.handle, self.container, probe, ip, self.execute)

        self.prober = Prober(self.container, once, self._probed)
        self.prober.start()

    def _probed(self, kind: str, outcome: str, why: str) -> None:
        word = kind.removesuffix("Probe").capitalize()
        if outcome == "unhealthy":
            self.worker.event("Warning", "Unhealthy", f"{word} probe failed: {why}")
            return
        if outcome == "failure" and kind != "readinessProbe":
            self.worker.event(
                "Normal", "Killing", f"Container {self.name} failed {word.lower()} probe, will be restarted"
            )
            asyncio.ensure_future(self.stop(30.0))  # noqa: RUF006 - the exit is told by the supervisor
        self.worker.wake()

    async def execute(self, argv: list[str], seconds: float) -> tuple[int, str]:
        """A command inside, to its end: code and what it said."""
        if self.current is None or self.spec is None:
            return 1, "the container does not run"
        found = process(self.spec, argv, tty=False)
        reader, writer = await self.worker.kubelet.handle.stream(
            "exec", id=self.current["id"], process=found, tty=False, stdin=False
        )
        output, code = b"", 1
        try:
            async with asyncio.timeout(seconds):
                while True:
                    head = await reader.readexactly(5)
                    data = await reader.readexactly(int.from_bytes(head[1:], "big"))
                    if head[0] == 3:
                        code = int(data)
                        break
                    output += data
        except (TimeoutError, asyncio.IncompleteReadError):
            return 1, "the command did not end in time"
        finally:
            writer.close()
        return code, output.decode(errors="replace")

    async def stop(self, grace: float) -> None:
        """preStop, the stop signal, then SIGKILL after `grace` seconds."""
        if not self.is_running or self.current is None:
            return
        name, handle = self.current["id"], self.worker.kubelet.handle
        if grace > 0:
            hook = (self.container.get("lifecycle") or {}).get("preStop") or {}
            if hook.get("exec"):
                await self.execute(list(hook["exec"].get("command") or ()), grace)
            elif hook.get("sleep"):
                await asyncio.sleep(min(float(hook["sleep"].get("seconds", 0)), grace))
            number = getattr(signal, (self.image.stop_signal if self.image else "") or "SIGTERM", signal.SIGTERM)
            await handle.ask("signal", id=name, signal=int(number))
            deadline = asyncio.get_running_loop().time() + grace
            while self.is_running and (left := deadline - asyncio.get_running_loop().time()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self.exit.wait()
        if self.is_running:
            await handle.ask("signal", id=name, signal=9)

    async def remove(self) -> None:
        if self.prober is not None:
            await self.prober.stop()
        for record in (self.current, self.last):
            if record is not None:
                await self.worker.kubelet.handle.ask("remove", id=record["id"])
