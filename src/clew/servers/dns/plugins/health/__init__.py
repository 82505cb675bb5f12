"""health: a page that says the process is alive; on stopping, `lameduck` keeps answering for that long."""

import asyncio

from clew.servers.dns.arguments import duration, listen_address, one_argument
from clew.servers.dns.chain import Context, Handler, Site
from clew.servers.dns.corefile import Directive, Word
from clew.servers.pages import Page, serve_pages


class Health:
    def __init__(self, host: str | None, port: int, lameduck: float) -> None:
        self.host = host
        self.port = port
        self.lameduck = lameduck

    def wrap(self, following: Handler) -> Handler:
        return following

    async def run(self) -> None:
        async with serve_pages(self.host, self.port, {"/health": lambda: Page(200, "OK")}):
            await asyncio.Event().wait()


def setup(directive: Directive, _site: Site, _context: Context) -> Health:
    where = directive.arguments[0] if directive.arguments else Word(":8080", directive.name.line, 1)
    lameduck = 0.0
    for inner in directive.block:
        if inner.name.text != "lameduck":
            raise inner.name.error(f"health has no property {inner.name.text!r}", "lameduck is the one there is")
        lameduck = duration(one_argument(inner))
    host, port = listen_address(where)
    return Health(host, port, lameduck)
