"""Small read-only HTTP pages of a program: health, readiness, metrics."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from clew.base.value import Value


class Page(Value):
    """An answer: status, text, content type."""

    status: int
    text: str
    content_type: str = "text/plain"


@asynccontextmanager
async def serve_pages(host: str | None, port: int, pages: Mapping[str, Callable[[], Page]]) -> AsyncIterator[int]:
    """Answers GET for each path while the context is open; yields the port (of use when asked for 0).

    Host None means every address. OSError where the port is taken.
    """

    async def handle(request: web.Request) -> web.Response:
        page = pages[request.path]()
        return web.Response(status=page.status, text=page.text, content_type=page.content_type)

    app = web.Application()
    for path in pages:
        app.router.add_get(path, handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        await site.start()
        sockets = runner.addresses
        yield sockets[0][1]
    finally:
        await runner.cleanup()
