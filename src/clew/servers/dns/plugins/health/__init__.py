"""health: a page that says the process is alive; on stopping, `lameduck` keeps answering for that long."""

import asyncio

from clew.servers.dns.arguments import address_argument, duration, one_argument, unknown_property
from clew.servers.dns.chain import Context, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.pages import Page, listening


class Health(Plugin):
    def __init__(self, host: str | None, port: int, lameduck: float) -> None:
        self.host = host
        self.port = port
        self.lameduck = lameduck

    async def run(self) -> None:
        async with listening(self.host, self.port, {"/health": lambda: Page(b"OK")}):
            await asyncio.Event().wait()


def setup(directive: Directive, _site: Site, _context: Context) -> Health:
    lameduck = 0.0
    for inner in directive.block:
        if inner.name.text != "lameduck":
            raise unknown_property(directive, inner, ("lameduck",))
        lameduck = duration(one_argument(inner))
    return Health(*address_argument(directive, ":8080"), lameduck)
