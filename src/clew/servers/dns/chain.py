"""How plugins stand one behind the other: each wraps the next and may answer, alter, count or pass on.

A handler returns a Response at once where it can, else an awaitable of one: a name in memory is answered without
a task of its own. `then` is the one place that tells the two apart.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Self

from clew.base.clock import Clock
from clew.base.metrics import Registry
from clew.base.value import Value
from clew.servers.dns import message, wire
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response, WireError
from clew.servers.pages import Page

Answer = Response | Awaitable[Response]
Handler = Callable[[Query], Answer]


class Site(Value):
    """What a server block answers for: `zones` in text without the final dot (the root is empty), and its port."""

    zones: tuple[str, ...]
    port: int
    origin: str  # the block's first key, as a label of metrics: dns://:53

    @property
    def label(self) -> str:
        """The zone as a label of metrics."""
        return f"{self.zones[0]}."


Address = tuple[str | None, int]  # of pages; None: every address of the machine


class Context:
    """What a plugin may use of its process. Each generation of a Corefile has one of its own (`fresh`)."""

    def __init__(self, clock: Clock, registry: Registry, say: Callable[[str], None]) -> None:
        self.clock = clock
        self.registry = registry
        self.say = say
        self.readiness: dict[str, Callable[[], bool]] = {}
        self.refreshes: list[Callable[[], None]] = []  # called before metrics are read
        self.pages: dict[Address, dict[str, Callable[[], Page]]] = {}
        self.corefile_changed: Callable[[], Awaitable[None]] | None = None
        self.ask: Callable[[int, Query], Answer] = lambda _port, _query: Response(
            rcode=wire.SERVFAIL
        )  # the whole server
        self.metrics: Callable[[], str] = registry.render  # the page of all processes behind this address
        self.quick_seconds = 0.0  # what an answer from memory takes, on average lately
        self._stale: list[Callable[[Collection[bytes] | None], None]] = []

    def fresh(self) -> Self:
        """For another generation: the same process, with nothing that plugins of this one left."""
        made = copy.copy(self)
        made.readiness, made.refreshes, made.pages = {}, [], {}
        return made

    def page(self, address: Address, path: str, page: Callable[[], Page]) -> None:
        """Serve a page; server blocks that name the same address share it."""
        self.pages.setdefault(address, {})[path] = page

    def on_stale(self, listener: Callable[[Collection[bytes] | None], None]) -> None:
        """Call `listener` with the tokens (`Response.lasting`) whose answers changed; None for all."""
        self._stale.append(listener)

    def stale(self, tokens: Collection[bytes] | None) -> None:
        for listener in self._stale:
            listener(tokens)


class Plugin:
    """One directive of a server block at work; what a plugin does not say for itself does nothing."""

    every_query = False  # it must see each query: no answer may be given again from memory before it

    def wrap(self, following: Handler) -> Handler:
        """The handler that stands before `following`."""
        return following

    async def run(self) -> None:
        """The plugin's own activity, cancelled when the server stops; returns at once where there is none."""
        await asyncio.sleep(0)


Setup = Callable[[Directive, Site, Context], Plugin]


def then(answer: Answer, step: Callable[[Response], Response]) -> Answer:
    """`step` applied to the response, now or when it is there."""
    if isinstance(answer, Response):
        return step(answer)

    async def later() -> Response:
        return step(await answer)

    return later()


def chased(query: Query, response: Response, ask: Callable[[Query], Answer]) -> Answer:
    """The response with what its alias leads to (`chase`), asked of `ask`; as it is where that fails."""
    if not response.chase or query.qtype == wire.CNAME:
        return response

    def joined(found: Response) -> Response:
        try:
            records = message.alias_chain(message.opened(found, inner), response.chase)
        except WireError:
            return response
        return Response(found.rcode, [*response.answers, *records], found.authority, authoritative=True)

    inner = message.ask_for(query, response.chase, query.qtype)
    return then(ask(inner), joined)


def refuse(_query: Query) -> Response:
    """The end of every chain: nobody answers for that name."""
    return Response(rcode=wire.REFUSED)


def link(plugins: Sequence[Plugin]) -> Handler:
    """The chain's first handler."""
    handler: Handler = refuse
    for plugin in reversed(plugins):
        handler = plugin.wrap(handler)
    return handler
