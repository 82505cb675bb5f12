"""One upstream resolver: its address, its connections kept for the next question, and whether it is well.

A question by UDP has a socket of its own, so a random port, and a random ID (RFC 5452); what else arrives there is
ignored. TCP and TLS connections are used again until they were idle for `expire`.
"""

import asyncio
import secrets
import socket
import ssl
import struct
from ipaddress import ip_address

from clew.base.clock import Clock
from clew.base.errors import WorldError
from clew.base.value import Value
from clew.servers.dns.wire import TC, Query

TIMEOUT = 2.0  # seconds for one try
_MOST_KEPT = 64  # idle connections


class Upstream(Value):
    host: str
    port: int = 53
    tls: bool = False
    server_name: str = ""  # whom the certificate must name; the directive's tls_servername where empty

    @classmethod
    def parse(cls, text: str) -> "Upstream":
        """`10.0.0.1`, `10.0.0.1:5353`, `[fd00::1]:5353`, `tls://9.9.9.9%dns.example`; ValueError for none of these."""
        scheme, _, rest = text.rpartition("://")
        if scheme not in {"", "dns", "tls"}:
            raise ValueError(f"{text!r}: {scheme}:// is no transport that can be asked")
        rest, _, server_name = rest.partition("%") if scheme == "tls" else (rest, "", "")
        host, port = rest, "853" if scheme == "tls" else "53"
        if rest.startswith("["):
            host, colon, given = rest[1:].partition("]:")
            host, port = host.rstrip("]"), given if colon else port
        elif rest.count(":") == 1:
            host, _, port = rest.partition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} has no valid port")
        return cls(str(ip_address(host.partition("%")[0])), int(port), scheme == "tls", server_name)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def answers(data: bytes, message_id: bytes, question: bytes) -> bool:
    """The ID, the response bit and the question must be ours; else a stranger could poison the cache."""
    end = 12 + len(question)
    return (
        len(data) >= end
        and data[:2] == message_id
        and bool(data[2] & 0x80)
        and data[4:6] == b"\0\1"
        and data[12:end].lower() == question.lower()
    )


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.used = 0.0

    async def ask(self, message: bytes) -> bytes:
        self.writer.write(struct.pack(">H", len(message)) + message)
        (length,) = struct.unpack(">H", await self.reader.readexactly(2))
        return await self.reader.readexactly(length)


class Connections:
    """Idle connections to one upstream."""

    def __init__(self, upstream: Upstream, context: ssl.SSLContext | None, expire: float, clock: Clock) -> None:
        self.upstream = upstream
        self.context = context
        self.expire = expire
        self.clock = clock
        self.hits = self.misses = 0
        self._idle: list[_Connection] = []

    async def ask(self, message: bytes) -> bytes:
        """The answer's bytes; a kept connection that the other side closed meanwhile costs a second try, no failure."""
        while connection := self._take():
            try:
                return await self._through(connection, message)
            except (asyncio.IncompleteReadError, ConnectionError):
                continue
        self.misses += 1
        server_name = self.upstream.server_name or None
        reader, writer = await asyncio.open_connection(
            self.upstream.host,
            self.upstream.port,
            ssl=self.context,
            server_hostname=server_name if self.context else None,
        )
        try:
            return await self._through(_Connection(reader, writer), message)
        except asyncio.IncompleteReadError:
            raise WorldError("the connection was closed before the answer") from None

    def _take(self) -> _Connection | None:
        now = self.clock.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.used < self.expire and not connection.reader.at_eof():
                self.hits += 1
                return connection
            connection.writer.close()
        return None

    async def _through(self, connection: _Connection, message: bytes) -> bytes:
        kept = False
        try:
            answer = await connection.ask(message)
            kept = len(self._idle) < _MOST_KEPT
            return answer
        finally:
            if kept:
                connection.used = self.clock.monotonic()
                self._idle.append(connection)
            else:
                connection.writer.close()  # also where the wait was given up: a late answer must meet nobody

    def close(self) -> None:
        while self._idle:
            self._idle.pop().writer.close()


async def by_udp(upstream: Upstream, message: bytes, question: bytes) -> bytes:
    """The first datagram that answers what was asked."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in upstream.host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((upstream.host, upstream.port))
        await loop.sock_sendall(sock, message)
        while True:
            data = await loop.sock_recv(sock, 65535)
            if answers(data, message[:2], question):
                return data


async def exchange(connections: Connections, query: Query, *, tcp: bool, then_tcp: bool = False) -> bytes:
    """The upstream's whole answer; `then_tcp`: ask again by TCP where it was truncated.

    WorldError when none comes in time, the way is closed or it does not answer the question.
    """
    upstream = connections.upstream
    message = secrets.token_bytes(2) + query.raw[2:]
    try:
        async with asyncio.timeout(TIMEOUT):
            if not tcp and not upstream.tls:
                answer = await by_udp(upstream, message, query.question)
                if not then_tcp or not int.from_bytes(answer[2:4]) & TC:
                    return answer
            answer = await connections.ask(message)
    except TimeoutError:
        raise WorldError(f"no answer within {TIMEOUT:g} s") from None
    except ssl.SSLError as error:
        raise WorldError(f"TLS: {error.reason or error}") from None
    except OSError as error:
        raise WorldError(error.strerror or str(error)) from None
    if not answers(answer, message[:2], query.question):
        raise WorldError("the answer is not to our question")
    return answer
