"""The smallest HTTP server that probes, scrapers and curl are content with: GET and HEAD, one answer a connection.

For the health and metrics pages of the agent and of DNS, where a web framework would cost more memory and a longer
start than the pages' subject.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus

from clew.base.errors import UserError
from clew.base.value import Value

logger = logging.getLogger(__name__)

METRICS = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format
REQUEST_SECONDS = 5
REQUEST_BYTES = 8192


class Page(Value):
    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Pages = Mapping[str, Callable[[], Page]]
ANY = "*"  # the page for whatever path has none of its own


def _everyone(_here: str) -> bool:
    return True


async def serve(address: str, pages: Pages, answers: Callable[[str], bool] = _everyone) -> None:
    """For ever, at `address` (`0.0.0.0:10256`, `[::1]:10249`, `:8080`); UserError where it is not to be had.

    `[::]` and `0.0.0.0` are every address of both families, as in Go.

    `answers` says to which addresses of this machine a connection may have come; others are closed.
    """
    host, _, port = address.rpartition(":")
    everywhere = host in {"", "[::]", "0.0.0.0"}  # noqa: S104 - what is asked for
    try:
        async with listening(None if everywhere else host.strip("[]"), int(port), pages, answers) as server:
            await server.serve_forever()
    except (OSError, ValueError) as problem:
        raise UserError(f"cannot listen on {address}: {problem}", "free the port or configure another one") from problem


@contextlib.asynccontextmanager
async def listening(
    host: str | None, port: int, pages: Pages, answers: Callable[[str], bool] = _everyone
) -> AsyncIterator[asyncio.Server]:
    """Answer while the context is open; host None means every address. OSError where the port is taken."""
    server = await asyncio.start_server(
        lambda reader, writer: _converse(reader, writer, pages if answers(_here(writer)) else None),
        host,
        port,
        limit=REQUEST_BYTES,
    )
    async with server:
        yield server


def _here(writer: asyncio.StreamWriter) -> str:
    name = writer.get_extra_info("sockname")
    return str(name[0]) if name else ""


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Pages | None) -> None:
    if pages is None:
        writer.close()
        return
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head, pages))
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a peer that says nothing, or too much, is not owed an answer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def answer(head: bytes, pages: Pages) -> bytes:
    """The whole response to a request's head. Pure but for what the page itself looks at."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _encode(Page(b"bad request\n", 400), with_body=True)
    method, target = words[0], words[1].decode("latin-1").partition("?")[0]
    if method not in {b"GET", b"HEAD"}:
        return _encode(Page(b"only GET and HEAD\n", 405), with_body=True)
    page = pages.get(target) or pages.get(ANY)
    found = page() if page is not None else Page(b"404 page not found\n", 404)
    return _encode(found, with_body=method == b"GET")


def _encode(page: Page, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in page.headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (page.body if with_body else b"")
