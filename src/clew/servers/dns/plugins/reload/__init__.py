"""reload: the Corefile is read again when it changes; a bad one is said so and the old one stays at work."""

from clew.servers.dns.arguments import duration, no_block
from clew.servers.dns.chain import Context, Handler, Site
from clew.servers.dns.corefile import Directive


class Reload:
    def __init__(self, interval: float, context: Context) -> None:
        self.interval = interval
        self.context = context

    def wrap(self, following: Handler) -> Handler:
        return following

    async def run(self) -> None:
        while True:
            await self.context.clock.sleep(self.interval)
            if self.context.corefile_changed is not None:
                await self.context.corefile_changed()


def setup(directive: Directive, _site: Site, context: Context) -> Reload:
    no_block(directive)
    interval = duration(directive.arguments[0]) if directive.arguments else 30.0
    if interval < 2:
        raise directive.arguments[0].error("an interval below 2s", "write at least 2s")
    return Reload(interval, context)
