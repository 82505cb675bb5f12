"""Startup, readiness and liveness probes: asked from the node's network, counted as their thresholds say."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.cluster.oci.handle import NodeHandle

Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]


def port_of(container: Object, port: int | str) -> int:
    """A number, or the container's port of that name; 0 where it has none."""
    if isinstance(port, int):
        return port
    named = (each["containerPort"] for each in container.get("ports") or () if each.get("name") == port)
    return next(named, int(port) if str(port).isdecimal() else 0)


async def ask(handle: NodeHandle, container: Object, probe: Object, ip: str, execute: Execute) -> str:
    """One try: empty for success, else why it failed."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(seconds):
            if probe.get("exec"):
                code, output = await execute(list(probe["exec"].get("command") or ()), seconds)
                return "" if code == 0 else output.strip() or f"command exited with {code}"
            if probe.get("httpGet"):
                return await _http(handle, container, probe["httpGet"], ip)
            if probe.get("tcpSocket"):
                target = probe["tcpSocket"]
                host = target.get("host") or ip
                _, writer = await handle.stream(
                    "connect", host=host, port=port_of(container, target["port"]), timeout=seconds
                )
                writer.close()
                return ""
    except TimeoutError:
        return f"context deadline exceeded ({seconds:g} s)"
    except WorldError as error:
        return str(error)
    return "probes of kind grpc are not supported: use httpGet, tcpSocket or exec"


async def _http(handle: NodeHandle, container: Object, get: Object, ip: str) -> str:
    host, port = get.get("host") or ip, port_of(container, get["port"])
    if get.get("scheme") == "HTTPS":
        return "HTTPS probes are not supported: use tcpSocket or exec"
    reader, writer = await handle.stream("connect", host=host, port=port)
    try:
        shown = f"[{host}]" if ":" in host else host
        headers = {each["name"]: each["value"] for each in get.get("httpHeaders") or ()}
        headers = {"Host": f"{shown}:{port}", "User-Agent": "kube-probe/1.37", "Connection": "close"} | headers
        head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        writer.write(f"GET {get.get('path') or '/'} HTTP/1.1\r\n{head}\r\n".encode())
        line = (await reader.readline()).split()
        status = int(line[1]) if len(line) > 1 and line[1].isdigit() else 0
    finally:
        writer.close()
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


class Prober:
    """The probes of one running container; tells of each change."""

    def __init__(
        self, container: Object, try_once: Callable[[Object], Awaitable[str]], tell: Callable[[str, str, str], None]
    ) -> None:
        self.container = container
        self.try_once = try_once
        self.tell = tell  # (kind of probe, "success" or "failure", why)
        self.started = "startupProbe" not in container
        self.ready = "readinessProbe" not in container
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.ensure_future(self._run())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        if not self.started:
            await self._probe("startupProbe")
        kinds = [kind for kind in ("readinessProbe", "livenessProbe") if kind in self.container]
        await asyncio.gather(*(self._probe(kind) for kind in kinds))

    async def _probe(self, kind: str) -> None:
        probe = self.container[kind]
        period = float(probe.get("periodSeconds") or 10)
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        good = bad = 0
        while True:
            why = await self.try_once(probe)
            good, bad = (0, bad + 1) if why else (good + 1, 0)
            if why:
                self.tell(kind, "unhealthy", why)
            if good == (probe.get("successThreshold") or 1):
                self._passed(kind)
                if kind == "startupProbe":
                    return
            elif bad == (probe.get("failureThreshold") or 3):
                self._failed(kind, why)
            await asyncio.sleep(period if self.ready or kind != "readinessProbe" else min(period, 1.0))

    def _passed(self, kind: str) -> None:
        if kind == "startupProbe":
            self.started = True
        elif kind == "readinessProbe":
            self.ready = True
        self.tell(kind, "success", "")

    def _failed(self, kind: str, why: str) -> None:
        if kind == "readinessProbe":
            self.ready = False
        self.tell(kind, "failure", why)
