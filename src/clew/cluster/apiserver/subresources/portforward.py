"""port-forward: SPDY/3.1 streams in binary WebSocket messages (KEP-4006), each pair a TCP connection into the pod."""

import asyncio
from contextlib import suppress

from aiohttp import WSMsgType, web

from clew.cluster.apiserver.subresources import spdy
from clew.cluster.streams import Duplex, NodeStreams, PodRef

_CHUNK = 32 << 10
_WAITING = 64  # pieces for one connection that may wait before the whole client is slowed


class Forwarding:
    """One kubectl port-forward; any number of connections."""

    protocols = ("SPDY/3.1+portforward.k8s.io",)

    def __init__(self, nodes: NodeStreams, pod: PodRef) -> None:
        self.nodes = nodes
        self.pod = pod
        self._framer = spdy.Framer()
        self._errors: dict[str, int] = {}  # request id -> error stream
        self._inboxes: dict[int, asyncio.Queue[bytes]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._socket: web.WebSocketResponse

    async def run(self, socket: web.WebSocketResponse) -> None:
        """Until the client closes."""
        self._socket = socket
        try:
            async for message in socket:
                if message.type == WSMsgType.BINARY:
                    for frame in self._framer.feed(message.data):
                        await self._take(frame)
        finally:
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _take(self, frame: spdy.Frame) -> None:
        inbox = self._inboxes.get(frame.stream)
        if frame.kind == "ping":
            await self._send(spdy.ping(frame.data))
        elif frame.kind == "syn":
            await self._open(frame)
        elif inbox is not None and frame.kind in {"data", "rst"}:
            if frame.data:
                await inbox.put(frame.data)
            if frame.fin or frame.kind == "rst":
                await inbox.put(b"")

    async def _open(self, frame: spdy.Frame) -> None:
        headers = dict(frame.headers)
        request, port = headers.get("requestid", ""), headers.get("port", "")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            await self._send(spdy.reset(frame.stream))
            return
        await self._send(self._framer.reply(frame.stream))
        if headers.get("streamtype") == "error":
            self._errors[request] = frame.stream
            return
        self._inboxes[frame.stream] = asyncio.Queue(_WAITING)
        connection = asyncio.ensure_future(self._forward(frame.stream, int(port), request))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _forward(self, stream: int, port: int, request: str) -> None:
        """One connection, from its opening to both ends' last byte; failures go out on its error stream."""
        error = self._errors.pop(request, None)
        failure = ""
        try:
            pipe = await self.nodes.connect(self.pod, port)
            try:
                await self._carry(stream, pipe)
            finally:
                await pipe.close()
        except Exception as wrong:  # noqa: BLE001 - whatever it is, the client learns it on its error stream
            failure = f"error forwarding port {port} to pod {self.pod.uid}, uid : {wrong}"
        finally:
            self._inboxes.pop(stream, None)
        with suppress(ConnectionError):
            if error is not None:
                await self._send(spdy.data(error, failure.encode(), fin=True))
            await self._send(spdy.data(stream, b"", fin=True))

    async def _carry(self, stream: int, pipe: Duplex) -> None:
        to_pod = asyncio.ensure_future(self._to_pod(stream, pipe))
        try:
            while data := await pipe.read():
                for at in range(0, len(data), _CHUNK):
                    await self._send(spdy.data(stream, data[at : at + _CHUNK]))
        finally:
            to_pod.cancel()
            await asyncio.gather(to_pod, return_exceptions=True)

    async def _to_pod(self, stream: int, pipe: Duplex) -> None:
        inbox = self._inboxes[stream]
        while data := await inbox.get():
            await pipe.write(data)
        await pipe.end()

    async def _send(self, frame: bytes) -> None:
        await self._socket.send_bytes(frame)
