"""Sockets to chains: datagrams and TCP connections in, encoded answers out.

One `Listener` serves one port; several server blocks may share it, and the longest zone that matches wins.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence

from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.chain import Answer, Handler
from clew.servers.dns.wire import Query, Response, WireError

_IDLE = 10.0  # seconds a TCP client may stay silent (RFC 7766 section 6.2.3)
_MOST_CLIENTS = 1000


class Route(Value):
    """Questions at or below `zone` (wire form, lower case) go to `handler`."""

    zone: bytes
    handler: Handler


class Listener:
    """A DNS port over UDP and TCP."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes: tuple[Route, ...] = ()
        self.use(routes)
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = 0

    def use(self, routes: Sequence[Route]) -> None:
        """Answer from these chains from now on."""
        self.routes = tuple(sorted(routes, key=lambda route: -len(route.zone)))

    async def start(self, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]) -> None:
        """Serve on bound sockets; TCP ones are put to listen here."""
        loop = asyncio.get_running_loop()
        for sock in udp:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
            self._transports.append(transport)
        for sock in tcp:
            self._servers.append(await asyncio.start_server(self._connection, sock=sock, backlog=512))

    async def stop(self) -> None:
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ask(self, query: Query) -> Answer:
        if query.edns_version:
            return Response(rcode=wire.BADVERS)
        for route in self.routes:
            if query.lower.endswith(route.zone):
                return route.handler(query)
        return Response(rcode=wire.REFUSED)

    def datagram(self, data: bytes, transport: asyncio.DatagramTransport, peer: tuple[str, int]) -> None:
        """One datagram: answered on the spot where the chain can, else by a task."""
        try:
            query = wire.parse_query(data, client=peer[0])
        except WireError as error:
            if error.rcode is not None:
                transport.sendto(wire.refusal(data, error.rcode), peer)
            return
        answer = self.ask(query)
        if isinstance(answer, Response):
            transport.sendto(wire.encode(query, answer), peer)
            return

        async def later() -> None:
            transport.sendto(wire.encode(query, await answer), peer)

        self._keep(asyncio.get_running_loop().create_task(later()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        self._clients += 1
        try:
            while self._clients <= _MOST_CLIENTS:
                async with asyncio.timeout(_IDLE):
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                reply = await self._reply(data, peer[0])
                if not reply:
                    break
                writer.write(struct.pack(">H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass  # the client's business
        finally:
            self._clients -= 1
            writer.close()

    async def _reply(self, data: bytes, client: str) -> bytes:
        try:
            query = wire.parse_query(data, tcp=True, client=client)
        except WireError as error:
            return b"" if error.rcode is None else wire.refusal(data, error.rcode)
        answer = self.ask(query)
        return wire.encode(query, answer if isinstance(answer, Response) else await answer)


class _Datagrams(asyncio.DatagramProtocol):
    """A UDP socket of a listener."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.listener.datagram(data, self.transport, addr)

    def error_received(self, exc: Exception) -> None:
        """An asker that went away; nothing to do for it."""


def bind(host: str, port: int, kind: int) -> socket.socket:
    """A bound, non-blocking socket; `::` also takes IPv4 (dual stack). OSError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
