"""exec, attach, port-forward and log: WebSockets and chunked text on the client's side, NodeStreams on the other.

exec and attach speak `v5.channel.k8s.io` (and v4): the first byte of a message names its channel. port-forward
speaks SPDY frames inside binary messages. Error texts are the real server's.
"""

import asyncio
from contextlib import suppress

import msgspec
from aiohttp import WSMsgType, web

from clew.api.objects import Object
from clew.cluster.apiserver.subresources import spdy
from clew.cluster.streams import Duplex, ExecRequest, LogRequest, NodeStreams, PodRef, Session

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
PORT_FORWARD = "SPDY/3.1+portforward.k8s.io"
_CHUNK = 32 << 10


def _success() -> Object:
    return {"metadata": {}, "status": "Success"}


def exit_status(code: int) -> Object:
    """How the error channel tells an exit code (v4 and later)."""
    if not code:
        return _success()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes},
        "message": f"command terminated with non-zero exit code: error executing command, exit code {code}",
    }  # fmt: skip


async def run_session(request: web.Request, session: Session, wanted: ExecRequest) -> web.StreamResponse:
    """Carry a session over a WebSocket until both have ended."""
    socket = web.WebSocketResponse(protocols=CHANNELS, max_msg_size=0, timeout=5)
    await socket.prepare(request)
    outward = asyncio.ensure_future(_outward(socket, session))
    inward = asyncio.ensure_future(_inward(socket, session, wanted))
    try:
        await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
        if outward.done() and not outward.cancelled() and outward.exception() is None:
            await socket.close()
    finally:
        for task in (outward, inward):
            task.cancel()
        await asyncio.gather(outward, inward, return_exceptions=True)
        await session.close()
    return socket


async def _outward(socket: web.WebSocketResponse, session: Session) -> None:
    async for channel, data in session.output():
        for at in range(0, len(data), _CHUNK):
            await socket.send_bytes(bytes((channel,)) + data[at : at + _CHUNK])
    code = await session.wait()
    await socket.send_bytes(bytes((ERROR,)) + msgspec.json.encode(exit_status(code)))


async def _inward(socket: web.WebSocketResponse, session: Session, wanted: ExecRequest) -> None:
    async for message in socket:
        data = message.data.encode() if message.type == WSMsgType.TEXT else message.data
        if not data:
            continue
        channel, payload = data[0], data[1:]
        if channel == STDIN and wanted.stdin:
            await session.write(payload)
        elif channel == CLOSE and payload[:1] == bytes((STDIN,)):
            await session.end_input()
        elif channel == RESIZE:
            with suppress(msgspec.DecodeError, KeyError):
                size = msgspec.json.decode(payload)
                await session.resize(int(size["Width"]), int(size["Height"]))
    # the client went away: what it ran is told so by the end of its input
    await session.end_input()


class _Forwarding:
    """One port-forward connection: streams in pairs (error, data), each pair one TCP connection into the pod."""

    def __init__(self, socket: web.WebSocketResponse, nodes: NodeStreams, pod: PodRef) -> None:
        self.socket = socket
        self.nodes = nodes
        self.pod = pod
        self.framer = spdy.Framer()
        self.errors: dict[str, int] = {}  # request id -> error stream
        self.inbox: dict[int, asyncio.Queue[bytes]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    async def send(self, frame: bytes) -> None:
        async with self._sending:
            await self.socket.send_bytes(frame)

    async def run(self) -> None:
        try:
            async for message in self.socket:
                if message.type == WSMsgType.BINARY:
                    for frame in self.framer.feed(message.data):
                        await self._take(frame)
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _take(self, frame: spdy.Frame) -> None:
        if frame.kind == "ping":
            await self.send(spdy.ping(frame.data))
        elif frame.kind == "syn":
            await self.send(self.framer.reply(frame.stream))
            headers = dict(frame.headers)
            request = headers.get("requestid", "")
            if headers.get("streamtype") == "error":
                self.errors[request] = frame.stream
            else:
                self.inbox[frame.stream] = asyncio.Queue(64)
                task = asyncio.ensure_future(self._forward(frame.stream, int(headers.get("port", "0")), request))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        elif frame.kind == "data" and frame.stream in self.inbox:
            if frame.data:
                await self.inbox[frame.stream].put(frame.data)
            if frame.fin:
                await self.inbox[frame.stream].put(b"")
        elif frame.kind == "rst" and frame.stream in self.inbox:
            await self.inbox[frame.stream].put(b"")

    async def _forward(self, stream: int, port: int, request: str) -> None:
        error = self.errors.get(request)
        try:
            pipe = await self.nodes.connect(self.pod, port)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client learns it on its error stream
            if error is not None:
                text = f"error forwarding port {port} to pod {self.pod.pod}, uid {self.pod.uid}: {failure}"
                await self.send(spdy.data(error, text.encode(), fin=True))
            await self.send(spdy.data(stream, b"", fin=True))
            self.inbox.pop(stream, None)
            return
        to_pod = asyncio.ensure_future(self._to_pod(stream, pipe))
        try:
            while data := await pipe.read():
                for at in range(0, len(data), _CHUNK):
                    await self.send(spdy.data(stream, data[at : at + _CHUNK]))
            await self.send(spdy.data(stream, b"", fin=True))
            if error is not None:
                await self.send(spdy.data(error, b"", fin=True))
        finally:
            to_pod.cancel()
            await asyncio.gather(to_pod, return_exceptions=True)
            self.inbox.pop(stream, None)
            await pipe.close()

    async def _to_pod(self, stream: int, pipe: Duplex) -> None:
        inbox = self.inbox[stream]
        while data := await inbox.get():
            await pipe.write(data)
        await pipe.end()


async def port_forward(request: web.Request, nodes: NodeStreams, pod: PodRef) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=(PORT_FORWARD,), max_msg_size=0, timeout=5)
    await socket.prepare(request)
    await _Forwarding(socket, nodes, pod).run()
    return socket


def log_request(request: web.Request) -> LogRequest:
    query = request.query

    def number(name: str) -> int | None:
        return int(query[name]) if query.get(name) else None

    return LogRequest(
        follow=query.get("follow") == "true",
        previous=query.get("previous") == "true",
        timestamps=query.get("timestamps") == "true",
        tail_lines=number("tailLines"),
        limit_bytes=number("limitBytes"),
        since_seconds=number("sinceSeconds"),
        since_time=query.get("sinceTime", ""),
    )


async def send_log(request: web.Request, nodes: NodeStreams, pod: PodRef) -> web.StreamResponse:
    """The log as chunked text; a container's missing log is refused before the first byte."""
    lines = await nodes.logs(pod, log_request(request))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for data in lines:
        await response.write(data)
    await response.write_eof()
    return response
