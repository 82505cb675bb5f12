"""Startup, readiness and liveness probes of running containers, counted as their thresholds say.

One prober a run of a container. It tells its owner of changes and of liveness failures; what follows from them is the
owner's matter. Until a startup probe has passed, the others are not asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from clew.api.objects import Object
from clew.base.clock import Clock
from clew.base.errors import WorldError
from clew.cluster.kubelet.requests import grpc_health, http_get, port_of, tcp_open
from clew.cluster.runtime.handle import NodeHandle

Kind = Literal["startup", "readiness", "liveness"]
KINDS: tuple[Kind, ...] = ("startup", "readiness", "liveness")
Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]


class Result(Protocol):
    """Where a prober's news go."""

    def probe_failed(self, container: str, kind: Kind, why: str) -> None:
        """One try failed (an Event)."""

    def probe_changed(self, container: str) -> None:
        """`ready` or `started` has changed."""

    def probe_condemned(self, container: str, kind: Kind, probe: Object) -> None:
        """Failed as often as its threshold allows: the container is to be restarted."""


async def ask(handle: NodeHandle, container: Object, probe: Object, address: str, execute: Execute) -> str | None:
    """One try; None for success, else why it failed, which a program need not say."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        if probe.get("httpGet"):
            status, _ = await http_get(handle, container, probe["httpGet"], address, seconds)
            return None if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
        if probe.get("tcpSocket"):
            target = probe["tcpSocket"]
            await tcp_open(handle, target.get("host") or address, port_of(container, target["port"]), seconds)
            return None
        if probe.get("exec"):
            code, output = await execute(list(probe["exec"].get("command") or ()), seconds)
            return None if code == 0 else output
        action = probe["grpc"]
        await grpc_health(handle, address, int(action["port"]), action.get("service") or "", seconds)
    except WorldError as problem:
        return str(problem)
    return None


class Prober:
    """The probes of one run of a container."""

    def __init__(
        self, container: Object, tell: Result, once: Callable[[Object], Awaitable[str | None]], clock: Clock
    ) -> None:
        self._container = container
        self._tell = tell
        self._once = once
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self.started = not container.get("startupProbe")
        self.ready = not container.get("readinessProbe")
        self._begun = asyncio.Event()
        if self.started:
            self._begun.set()

    @staticmethod
    def wanted(container: Object) -> bool:
        return any(container.get(f"{kind}Probe") for kind in KINDS)

    def start(self) -> None:
        for kind in KINDS:
            if self._container.get(f"{kind}Probe"):
                self._tasks.append(asyncio.create_task(self._run(kind), name=f"{kind} probe {self._container['name']}"))

    def adopt(self, *, ready: bool, started: bool) -> None:
        """Begin from what was known before the daemon's restart, so that a healthy pod stays ready."""
        self.ready = self.ready or ready
        if started and not self.started:
            self.started = True
            self._begun.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _run(self, kind: Kind) -> None:
        probe = self._container[f"{kind}Probe"]
        if kind == "startup":
            if self.started:
                return
        else:
            await self._begun.wait()
        await self._clock.sleep(float(probe.get("initialDelaySeconds") or 0))
        period = float(probe.get("periodSeconds") or 10)
        run, last = 0, ""
        while True:
            why = await self._once(probe)
            outcome = "success" if why is None else "failure"
            run, last = (run + 1 if outcome == last else 1), outcome
            if why is not None:
                self._tell.probe_failed(self._container["name"], kind, why)
            if self._count(kind, probe, outcome, run):
                return
            await self._clock.sleep(period)

    def _count(self, kind: Kind, probe: Object, outcome: str, run: int) -> bool:
        """Draw the conclusion of `run` equal outcomes; True when this probe is done."""
        name = self._container["name"]
        if outcome == "success":
            if run < int(probe.get("successThreshold") or 1):
                return False
            if kind == "startup":
                self.started = True
                self._begun.set()
                self._tell.probe_changed(name)
                return True
            if kind == "readiness" and not self.ready:
                self.ready = True
                self._tell.probe_changed(name)
            return False
        if run < int(probe.get("failureThreshold") or 3):
            return False
        if kind == "readiness":
            if self.ready:
                self.ready = False
                self._tell.probe_changed(name)
            return False
        self._tell.probe_condemned(name, kind, probe)
        return True
