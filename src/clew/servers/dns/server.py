"""Sockets to chains: questions from datagrams and TCP connections, encoded answers back.

One `Listener` serves one address and port; several server blocks may share it, and the longest zone that matches wins.
An answer that says what it hangs on (`Response.lasting`) is remembered by the question's bytes, so that the next one
like it never comes here.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from clew.base.errors import WorldError
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.chain import Answer, Handler
from clew.servers.dns.datagrams import Datagrams, Peer, Reply
from clew.servers.dns.encode import encode
from clew.servers.dns.quick import Quick
from clew.servers.dns.streams import Streams
from clew.servers.dns.wire import Query, Response, Tally, WireError

_MOST_TURNS = 64  # orders of an answer's records that are remembered


class Route(Value):
    """Questions at or below `zone` (wire form, lower case) go to `handler`."""

    zone: bytes
    handler: Handler
    quick: bool = False  # an answer may be given again without asking the handler, where it says so (`lasting`)
    chaos: bool = False  # questions of class CH are understood


def _unheard(_error: Exception) -> None:
    """Nobody wants to know."""


class Listener:
    """A DNS port over UDP and TCP. `failed` is told of defects: the asker gets SERVFAIL, the others their answers."""

    def __init__(self, routes: Sequence[Route], failed: Callable[[Exception], None] = _unheard) -> None:
        self.routes: tuple[Route, ...] = ()
        self.failed = failed
        self.quick_answers, self.quick_time = 0, 0.0  # how many came from memory, and how long they took in all
        self._quicks: list[Quick] = []
        self._datagrams: list[Datagrams] = []
        self._streams: list[Streams] = []
        self._servers: list[asyncio.Server] = []
        self.use(routes)

    def use(self, routes: Sequence[Route]) -> None:
        """Answer from these chains from now on."""
        self.routes = tuple(sorted(routes, key=lambda route: -len(route.zone)))
        self.stale(None)

    def stale(self, tokens: Collection[bytes] | None) -> None:
        """What hangs on these tokens is answered anew; everything, for None."""
        for quick in self._quicks:
            quick.stale(tokens)

    async def start(self, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]) -> None:
        """Serve on bound sockets; TCP ones are put to listen here."""
        loop = asyncio.get_running_loop()
        for sock in udp:
            quick = self._memory()
            datagrams = Datagrams(sock, quick, partial(self._reply, quick=quick, tcp=False), self._took)
            datagrams.start()
            self._datagrams.append(datagrams)
        for sock in tcp:
            quick = self._memory()
            streams = Streams(quick, partial(self._reply, quick=quick, tcp=True))
            self._streams.append(streams)
            self._servers.append(await loop.create_server(streams.connection, sock=sock, backlog=512))

    def _memory(self) -> Quick:
        self._quicks.append(Quick())
        return self._quicks[-1]

    def _took(self, count: int, seconds: float) -> None:
        self.quick_answers += count
        self.quick_time += seconds

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        stopping = [each.stop() for each in self._datagrams] + [each.stop() for each in self._streams]
        self._servers, self._datagrams, self._streams = [], [], []
        await asyncio.gather(*stopping)

    def _route(self, query: Query) -> Route | None:
        if query.qtype in {wire.AXFR, wire.IXFR}:
            return None  # zones are not handed out
        for route in self.routes:
            if wire.is_below(query.lower, route.zone):
                return route if query.qclass == wire.IN or (query.qclass == wire.CHAOS and route.chaos) else None
        return None

    def ask(self, query: Query) -> Answer:
        """The answer as the chain gives it."""
        route = self._route(query)
        return route.handler(query) if route else Response(rcode=wire.REFUSED)

    def _reply(self, raw: bytes, peer: Peer, *, quick: Quick, tcp: bool) -> Reply:
        try:
            query = wire.parse_query(raw, tcp=tcp, client=peer.host)
        except WireError as error:
            return b"" if error.rcode is None else wire.refusal(raw, error.rcode)
        query.client_port = peer.port
        if query.edns_version:
            return encode(query, Response(rcode=wire.BADVERS))
        route = self._route(query)
        if route is None:
            return encode(query, Response(rcode=wire.REFUSED))
        try:
            answer = route.handler(query)
        except Exception as error:  # noqa: BLE001 - a defect that one question shows must not silence the others
            return self._defect(query, error)
        if not isinstance(answer, Response):
            return self._later(query, answer)
        return self._finished(query, answer, quick if route.quick else None)

    async def _later(self, query: Query, answer: Awaitable[Response]) -> bytes:
        try:
            return self._finished(query, await answer, None)
        except WorldError:
            return encode(query, Response(rcode=wire.SERVFAIL))
        except Exception as error:  # noqa: BLE001 - as above
            return self._defect(query, error)

    def _defect(self, query: Query, error: Exception) -> bytes:
        self.failed(error)
        return encode(query, Response(rcode=wire.SERVFAIL))

    def _finished(self, query: Query, response: Response, quick: Quick | None) -> bytes:
        if response is wire.SILENCE:
            return b""
        data = encode(query, response)
        tally = response.count(query, data) if response.count else Tally()
        tally.slow += 1
        if quick is not None and response.lasting is not None and not query.options:
            quick.put(query.raw[2:], self._turns(query, response, data), tally, response.lasting)
        return data

    def _turns(self, query: Query, response: Response, data: bytes) -> list[bytes]:
        """The answer without its ID; where the order is drawn, each record comes first once."""
        if not response.mixed:
            return [data[2:]]
        fixed = next(at for at, each in enumerate(response.answers) if each in response.mixed)
        head, moving = list(response.answers[:fixed]), list(response.answers[fixed:])
        turned = []
        for at in range(min(len(moving), _MOST_TURNS)):
            response.answers = [*head, *moving[at:], *moving[:at]]
            turned.append(encode(query, response)[2:])
        return turned


def bind(host: str, port: int, kind: int, *, shared: bool = False) -> socket.socket:
    """A bound, non-blocking socket of the address's own family. OSError where it cannot be had.

    `shared`: other processes of the same user may have it too, and the kernel deals out what comes.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address, _, scope = host.partition("%")
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:  # for UDP it would let another process take our questions
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        sock.bind((address, port, 0, socket.if_nametoindex(scope)) if scope else (address, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def bind_all(host: str, port: int, *, shared: bool = False) -> tuple[list[socket.socket], list[socket.socket]]:
    """UDP and TCP sockets on an address; on every one of both families where `host` is empty. OSError as `bind`."""
    hosts = [host] if host else ["0.0.0.0", *(["::"] if _has_ipv6() else [])]  # noqa: S104 - every address was asked for
    made: dict[int, list[socket.socket]] = {socket.SOCK_DGRAM: [], socket.SOCK_STREAM: []}
    try:
        for each in hosts:
            for kind, sockets in made.items():
                sockets.append(bind(each, port, kind, shared=shared))
    except OSError:
        for sock in (*made[socket.SOCK_DGRAM], *made[socket.SOCK_STREAM]):
            sock.close()
        raise
    return made[socket.SOCK_DGRAM], made[socket.SOCK_STREAM]


def _has_ipv6() -> bool:
    """Whether the kernel has IPv6 and this namespace has it switched on."""
    try:
        bind("::1", 0, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
