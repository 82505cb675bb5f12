"""reload: the Corefile is read again when it changes; a bad one is said so and the old one stays at work."""

import random

from clew.servers.dns.arguments import duration, no_block, some_arguments
from clew.servers.dns.chain import Context, Plugin, Site
from clew.servers.dns.corefile import Directive


class Reload(Plugin):
    def __init__(self, interval: float, jitter: float, context: Context) -> None:
        self.interval = interval
        self.jitter = jitter
        self.context = context

    async def run(self) -> None:
        while True:
            await self.context.clock.sleep(self.interval + random.uniform(-self.jitter, self.jitter))  # noqa: S311
            if self.context.corefile_changed is not None:
                await self.context.corefile_changed()


def setup(directive: Directive, _site: Site, context: Context) -> Reload:
    no_block(directive)
    words = some_arguments(directive, 0, 2)
    interval = duration(words[0]) if words else 30.0
    if interval < 2:
        raise words[0].error("an interval below 2s", "write at least 2s")
    jitter = duration(words[1]) if len(words) > 1 else min(15.0, interval / 2)
    if jitter > interval / 2:
        raise words[1].error("a jitter above half of the interval", f"write at most {interval / 2:g}s")
    return Reload(interval, jitter, context)
