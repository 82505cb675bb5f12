"""How plugins stand one behind the other: each wraps the next and may answer, alter, count or pass on.

A handler returns a Response at once where it can, else an awaitable of one: a name in memory is answered without
a task of its own. `then` is the one place that tells the two apart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from clew.base.clock import Clock
from clew.base.metrics import Registry
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response

Answer = Response | Awaitable[Response]
Handler = Callable[[Query], Answer]


class Site(Value):
    """What a server block answers for: `zones` in text without the final dot (the root is empty), and its port."""

    zones: tuple[str, ...]
    port: int
    origin: str  # the block's first key, as a label of metrics: dns://:53


class Context:
    """What a plugin may use of its process; one a program, shared by its server blocks."""

    def __init__(self, clock: Clock, registry: Registry, say: Callable[[str], None]) -> None:
        self.clock = clock
        self.registry = registry
        self.say = say
        self.readiness: dict[str, Callable[[], bool]] = {}
        self.corefile_changed: Callable[[], Awaitable[None]] | None = None


class Plugin(Protocol):
    """One directive of a server block at work."""

    def wrap(self, following: Handler) -> Handler:
        """The handler that stands before `following`."""
        ...

    async def run(self) -> None:
        """The plugin's own activity, cancelled when the server stops; returns at once where there is none."""
        ...


Setup = Callable[[Directive, Site, Context], Plugin]


def then(answer: Answer, step: Callable[[Response], Response]) -> Answer:
    """`step` applied to the response, now or when it is there."""
    if isinstance(answer, Response):
        return step(answer)

    async def later() -> Response:
        return step(await answer)

    return later()


def refuse(_query: Query) -> Response:
    """The end of every chain: nobody answers for that name."""
    return Response(rcode=wire.REFUSED)


def link(plugins: Sequence[Plugin]) -> Handler:
    """The chain's first handler."""
    handler: Handler = refuse
    for plugin in reversed(plugins):
        handler = plugin.wrap(handler)
    return handler


class Passive:
    """A plugin without activity of its own."""

    async def run(self) -> None:
        await asyncio.sleep(0)
