"""HTTP/1.1 to one server, as the Kubernetes API needs it: TLS, connections kept alive, bodies read as they arrive.

No redirects, cookies, proxies or compression, none of which an API server asks for. A general library costs each
process 0.12 s of CPU before its first request, and 12 MiB. Called by transport.py alone, which has the retries.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clew.watch.framing import Body, MalformedError, body_of

if TYPE_CHECKING:
    import ssl as tls

CONNECT_TIMEOUT = 30.0  # seconds, the TLS handshake included; a busy server does all of each that is begun anew again
KEPT_FOR = 30.0  # seconds that an idle connection is used again; servers keep them longer
PIECE = 1 << 18  # bytes read at once; a longer head is refused


class Response:
    """`headers` by their names in small letters; the body unread."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Body, reader: asyncio.StreamReader) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        self._reader = reader
        self.quiet: float | None = None  # seconds without a byte that are too many

    @property
    def reusable(self) -> bool:
        """Whether the connection is ready for another request."""
        return self._body.done and self._body.kept and self.headers.get("connection", "").lower() != "close"

    async def some(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end. TimeoutError after `quiet` seconds of silence."""
        while not self._body.done:
            async with asyncio.timeout(self.quiet):
                data = await self._reader.read(PIECE)
            if not data:
                if self._body.kept:
                    raise ConnectionResetError("the server closed the connection within its answer")
                return b""
            if found := self._body.feed(data):
                return found
        return b""

    async def read(self) -> bytes:
        """All of the body that was not read yet."""
        parts = []
        while data := await self.some():
            parts.append(data)
        return b"".join(parts)


class Connection:
    """A stream to the server; `since` is when it was last used."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.since = time.monotonic()

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self.since < KEPT_FOR and not self.reader.at_eof() and not self.writer.is_closing()

    @property
    def local(self) -> str:
        """Our own address."""
        return str((self.writer.get_extra_info("sockname") or ("",))[0])

    def drop(self) -> None:
        """At once, without a farewell: nothing is under way that the other side would miss."""
        self.writer.transport.abort()


class Server:
    """Connections to `url` (`https://host:port/prefix`); `context` says whom to trust, None is the machine's trust."""

    def __init__(self, url: str, context: "tls.SSLContext | None") -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._secure = parts.scheme != "http"
        self._port = parts.port or (443 if self._secure else 80)
        self._named = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._context = context
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def close(self) -> None:
        """Idle connections; those in use end with their request."""
        while self._idle:
            self._idle.pop().drop()
        await asyncio.sleep(0)  # transports end in the next turn of the loop

    def leave(self, address: str) -> None:
        """End what goes out from an address that this machine no longer has: no answer can ever find it."""
        for connection in (*self._open, *self._idle):
            if connection.local == address:
                connection.drop()

    @asynccontextmanager
    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, server_name: str | None
    ) -> AsyncIterator[Response]:
        """The response, its body unread. OSError where there is none, of which TimeoutError is one."""
        connection = self._kept() or await self._connect(server_name)
        reusable = False
        self._open.add(connection)
        try:
            connection.writer.write(self._head(method, target, headers, body) + (body or b""))
            await connection.writer.drain()
            response = await _response(connection.reader)
            yield response
            reusable = response.reusable
        finally:
            self._open.discard(connection)
            if reusable and connection.fresh:
                connection.since = time.monotonic()
                self._idle.append(connection)
            else:
                connection.drop()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.drop()
        return None

    async def _connect(self, server_name: str | None) -> Connection:
        named: dict[str, Any] = {}
        if self._secure:
            if self._context is None:
                import ssl  # noqa: PLC0415  # its trust store costs 40 ms to load, and clusters have their own

                self._context = ssl.create_default_context()
            named = {"ssl": self._context, "server_hostname": server_name or self._host}
        async with asyncio.timeout(CONNECT_TIMEOUT):
            streams = await asyncio.open_connection(self._host, self._port, limit=PIECE, **named)
        _notice_silence(streams[1].get_extra_info("socket"))
        return Connection(*streams)

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        lines = [f"{method} {self._prefix}{target} HTTP/1.1", f"Host: {self._named}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(body or b'')}")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1:
            raise ValueError("a line break in a request's head")
        return text.encode("latin-1") + b"\r\n\r\n"


async def _response(reader: asyncio.StreamReader) -> Response:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the server closed the connection without an answer") from None
        except asyncio.LimitOverrunError:
            raise MalformedError("an answer with an endless head") from None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise MalformedError(f"{first[:40]!r} is no answer of an HTTP/1.1 server")
        status = int(words[1])
        if status >= 200:
            break
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Response(status, headers, body_of(status, headers), reader)


def _notice_silence(sock: socket.socket) -> None:
    """Notice a peer that vanished without a word: a watch has nothing to send that would tell."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
