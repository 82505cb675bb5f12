"""Requests over real connections: kept, renewed, refused; what a server that misbehaves leads to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clew.cluster.ca import Authority, client_tls, server_tls
from clew.watch import http1
from clew.watch.http1 import Response, Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that says what a test wants, byte for byte; `connections` counts those it took."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self.heads: list[bytes] = []
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peer(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    made = Peer(talk)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def says(*answers: bytes) -> Talk:
    """Each answer to one request, then the connection ends."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return talk


async def always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


async def fetch(server: Server, quiet: float | None = None) -> bytes:
    async with server.request("GET", "/x", {}, None, None) as response:
        response.quiet = quiet
        return await response.read()


@asynccontextmanager
async def to(at: Peer, scheme: str = "http", tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(f"{scheme}://127.0.0.1:{at.port}/prefix", tls)
    yield server
    await server.close()


async def test_a_connection_is_used_again() -> None:
    async with peer(always) as at, to(at) as server:
        assert [await fetch(server) for _ in range(3)] == [b"ok"] * 3
        assert at.connections == 1
        assert await asyncio.gather(fetch(server), fetch(server)) == [b"ok"] * 2
        assert at.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.0 200 OK\r\n\r\nok",
    ],
)
async def test_a_connection_that_ends_is_not_used_again(answer: bytes) -> None:
    async with peer(says(answer)) as at, to(at) as server:
        assert [await fetch(server) for _ in range(2)] == [b"ok"] * 2
        assert at.connections == 2


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    async with peer(says(OK)) as at, to(at) as server:
        for _ in range(5):
            assert await fetch(server) == b"ok"
            for _ in range(50):  # its end arrives, and is read
                await asyncio.sleep(0)
        assert at.connections == 5


async def test_an_old_connection_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "KEPT_FOR", 0)
    async with peer(always) as at, to(at) as server:
        await fetch(server)
        await fetch(server)
        assert at.connections == 2


async def test_a_body_left_unread_is_not_taken_for_the_next_answer() -> None:
    async with peer(always) as at, to(at) as server:
        async with server.request("GET", "/x", {}, None, None) as response:
            assert response.status == 200
        assert await fetch(server) == b"ok"
        assert at.connections == 2


async def test_interim_answers_are_passed_over() -> None:
    async with peer(says(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)) as at, to(at) as server:
        assert await fetch(server) == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
    ],
)
async def test_a_server_that_misbehaves_is_an_error_of_the_network(answer: bytes) -> None:
    async with peer(says(answer)) as at, to(at) as server:
        with pytest.raises(OSError, match=r"\w"):
            await fetch(server)


async def test_silence_has_an_end() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()

    async with peer(silent) as at, to(at) as server:
        with pytest.raises(TimeoutError):
            await fetch(server, quiet=0.05)


async def test_a_line_break_cannot_add_a_header() -> None:
    async with peer(always) as at, to(at) as server:
        with pytest.raises(ValueError, match="line break"):
            async with server.request("GET", "/x", {"X": "a\r\nY: b"}, None, None):
                pass


async def test_the_request_as_it_is_sent() -> None:
    seen: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(OK)

    async with peer(echo) as at, to(at) as server, server.request("POST", "/a?b=c", {"X": "y"}, b"body", None) as got:
        assert await got.read() == b"ok"
    host = f"127.0.0.1:{at.port}"
    assert seen == [f"POST /prefix/a?b=c HTTP/1.1\r\nHost: {host}\r\nX: y\r\nContent-Length: 4\r\n\r\nbody".encode()]


async def test_who_answers_must_prove_it(tmp_path: Path) -> None:
    authority = Authority.ensure(tmp_path / "pki")
    stranger = Authority.ensure(tmp_path / "stranger")
    context = server_tls(authority.server(["name.test"], ["127.0.0.1"]), authority.ca_pem)
    async with peer(always, context) as at:
        async with to(at, "https", client_tls(authority.ca_pem)) as server:
            assert await fetch(server) == b"ok"

            async def named(name: str) -> Response:
                await server.close()
                async with server.request("GET", "/x", {}, None, name) as response:
                    return response

            assert (await named("name.test")).status == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await named("other.test")
        for trust in (client_tls(stranger.ca_pem), None):
            async with to(at, "https", trust) as server:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await fetch(server)


async def test_what_goes_out_from_a_lost_address_ends_at_once() -> None:
    """A watch would wait for its kernel to give up, half a minute; from other addresses it goes on."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await reader.read()

    async with peer(silent) as at, to(at) as server, server.request("GET", "/watch", {}, None, None) as response:
        reading = asyncio.ensure_future(response.some())
        server.leave("127.0.0.2")
        assert not (await asyncio.wait({reading}, timeout=0.05))[0]
        server.leave("127.0.0.1")
        with pytest.raises(OSError):  # noqa: PT011 - whichever the loop makes of it
            await asyncio.wait_for(reading, 30)
