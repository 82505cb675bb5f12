"""ready: a page that says 200 once every plugin which must first learn something has done so."""

import asyncio

from clew.servers.dns.arguments import listen_address, no_block
from clew.servers.dns.chain import Context, Handler, Site
from clew.servers.dns.corefile import Directive, Word
from clew.servers.pages import Page, serve_pages


class Ready:
    def __init__(self, host: str | None, port: int, context: Context) -> None:
        self.host = host
        self.port = port
        self.context = context

    def wrap(self, following: Handler) -> Handler:
        return following

    def page(self) -> Page:
        waiting = [name for name, check in self.context.readiness.items() if not check()]
        return Page(503, ",".join(waiting)) if waiting else Page(200, "OK")

    async def run(self) -> None:
        async with serve_pages(self.host, self.port, {"/ready": self.page}):
            await asyncio.Event().wait()


def setup(directive: Directive, _site: Site, context: Context) -> Ready:
    where = directive.arguments[0] if directive.arguments else Word(":8181", directive.name.line, 1)
    no_block(directive)
    return Ready(*listen_address(where), context)
