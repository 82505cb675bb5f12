"""exec, attach, logs and port-forward for the API server, through the nodes' supervisors."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from clew.cluster.kubelet.containers import ContainerUnit
from clew.cluster.kubelet.kubelet import Kubelet
from clew.cluster.kubelet.worker import PodWorker
from clew.cluster.oci.handle import NodeError
from clew.cluster.oci.spec import process
from clew.cluster.streams import ExecRequest, LogRequest, PodRef, StreamError

_HEAD = struct.Struct(">BI")
_INPUT, _EXIT, _SIZE, _END = 0, 3, 4, 5


class SupervisorSession:
    """An exec or attach session over the supervisor's framed stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def _send(self, channel: int, data: bytes) -> None:
        with suppress(ConnectionError):
            self._writer.write(_HEAD.pack(channel, len(data)) + data)
            await self._writer.drain()

    async def write(self, data: bytes) -> None:
        await self._send(_INPUT, data)

    async def end_input(self) -> None:
        await self._send(_END, b"")

    async def resize(self, columns: int, rows: int) -> None:
        await self._send(_SIZE, f"{columns} {rows}".encode())

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        code = 137
        try:
            while True:
                channel, length = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                data = await self._reader.readexactly(length)
                if channel == _EXIT:
                    code = int(data)
                    return
                yield channel, data
        except asyncio.IncompleteReadError:
            return
        finally:
            if not self._code.done():
                self._code.set_result(code)

    async def wait(self) -> int:
        return await self._code

    async def close(self) -> None:
        self._writer.close()


class Pipe:
    """A TCP connection inside a pod."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        with suppress(OSError):
            self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()


class KubeletStreams:
    """All nodes of the lab."""

    def __init__(self, kubelets: Mapping[str, Kubelet]) -> None:
        self.kubelets = kubelets

    def _worker(self, pod: PodRef) -> PodWorker:
        kubelet = self.kubelets.get(pod.node)
        worker = kubelet.workers.get(pod.uid) if kubelet else None
        if worker is None:
            raise StreamError(404, f'pod "{pod.pod}" is not on node {pod.node}')
        return worker

    def _running(self, pod: PodRef) -> tuple[PodWorker, ContainerUnit]:
        worker = self._worker(pod)
        unit = self._unit(worker, pod)
        if not unit.is_running:
            raise StreamError(500, f'unable to upgrade connection: container not found ("{pod.container}")')
        return worker, unit

    def _unit(self, worker: PodWorker, pod: PodRef) -> ContainerUnit:
        for unit in (*worker.regular, *worker.init):
            if unit.name == pod.container:
                return unit
        raise StreamError(400, f"container {pod.container} is not valid for pod {pod.pod}")

    async def run(self, pod: PodRef, request: ExecRequest) -> SupervisorSession:
        worker, unit = self._running(pod)
        if unit.spec is None:
            image = await worker.kubelet.images.ensure(unit.container["image"], "IfNotPresent")
            unit.attempts -= 1
            await worker.maker.request(unit, image)
            unit.attempts += 1
        assert unit.spec is not None  # noqa: S101 - made just now
        assert unit.current is not None  # noqa: S101 - it runs
        found = process(unit.spec, request.command, tty=request.tty)
        try:
            reader, writer = await worker.kubelet.handle.stream(
                "exec", id=unit.current["id"], process=found, tty=request.tty, stdin=request.stdin
            )
        except NodeError as error:
            raise StreamError(500, str(error)) from None
        return SupervisorSession(reader, writer)

    async def attach(self, pod: PodRef, request: ExecRequest) -> SupervisorSession:
        worker, unit = self._running(pod)
        assert unit.current is not None  # noqa: S101 - it runs
        once = bool(unit.container.get("stdinOnce"))
        try:
            reader, writer = await worker.kubelet.handle.stream(
                "attach", id=unit.current["id"], stdin=request.stdin, once=once
            )
        except NodeError as error:
            raise StreamError(500, str(error)) from None
        return SupervisorSession(reader, writer)

    async def connect(self, pod: PodRef, port: int) -> Pipe:
        worker = self._worker(pod)
        last = ""
        for host in ("127.0.0.1", "::1"):
            try:
                reader, writer = await worker.kubelet.handle.stream(
                    "connect", netns=worker.sandbox.netns, host=host, port=port
                )
                return Pipe(reader, writer)
            except NodeError as error:
                last = last or str(error)
        raise StreamError(500, last)

    async def logs(self, pod: PodRef, request: LogRequest) -> AsyncIterator[bytes]:
        worker = self._worker(pod)
        unit = self._unit(worker, pod)
        record = unit.last if request.previous else unit.current
        if record is None:
            if request.previous:
                raise StreamError(400, f'previous terminated container "{unit.name}" in pod "{pod.pod}" not found')
            waiting = unit.state().waiting
            raise StreamError(400, f'container "{unit.name}" in pod "{pod.pod}" is waiting to start: {waiting}')
        return self._lines(worker, unit, str(record["log"]), request)

    async def _lines(
        self, worker: PodWorker, unit: ContainerUnit, log: str, request: LogRequest
    ) -> AsyncIterator[bytes]:
        tree = worker.kubelet.handle.paths.node_tree(worker.kubelet.config.node)
        path = tree / log.lstrip("/")
        since = _since(request)
        left = request.limit_bytes
        with path.open("rb") as file:
            lines = [
                line for line in file.read().splitlines(keepends=True) if line[:30].decode(errors="replace") >= since
            ]
            if request.tail_lines is not None:
                lines = lines[-request.tail_lines :] if request.tail_lines else []
            data = b"".join(_shown(line, stamps=request.timestamps) for line in lines)
            while True:
                if left is not None:
                    data, left = data[:left], left - len(data[:left])
                if data:
                    yield data
                if not request.follow or left == 0:
                    return
                record = unit.current
                over = record is None or record["log"] != log or record["state"] == "exited"
                data = b"".join(_shown(line, stamps=request.timestamps) for line in file.readlines())
                if not data:
                    if over:
                        return
                    await asyncio.sleep(0.1)


def _since(request: LogRequest) -> str:
    if request.since_time:
        return request.since_time
    if request.since_seconds is not None:
        return (datetime.now(UTC) - timedelta(seconds=request.since_seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return ""


def _shown(line: bytes, *, stamps: bool) -> bytes:
    """A CRI line as the user sees it: the text, and its time where asked for; a partial line without its newline."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return line
    text = parts[3] if parts[2] == b"F" else parts[3].rstrip(b"\n")
    return parts[0] + b" " + text if stamps else text
