"""loop: a query for a random name of ours that comes back means that the upstream is this server; then it ends.

The probe is sent once, after the start, through the rest of the chain.
"""

import secrets
import struct

from clew.base.errors import WorldError
from clew.servers.dns import wire
from clew.servers.dns.arguments import no_arguments, no_block
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response

_HINFO = 13


class Loop(Plugin):
    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = wire.name_to_wire(f"{secrets.randbits(62)}.{secrets.randbits(62)}")
        self.seen = 0
        self._following: Handler | None = None

    def wrap(self, following: Handler) -> Handler:
        self._following = following

        def handle(query: Query) -> Answer:
            if query.qtype == _HINFO and query.lower == self.name:
                self.seen += 1
                if self.seen > 2:
                    raise SystemExit("[FATAL] plugin/loop: queries forwarded from here come back here; see `forward`")
            return following(query)

        return handle

    async def run(self) -> None:
        if self._following is None:
            return
        raw = struct.pack(">HHHHHH", secrets.randbits(16), wire.RD, 1, 0, 0, 0) + self.name + struct.pack(">HH", 13, 1)
        try:
            answer = self._following(wire.parse_query(raw))
            if not isinstance(answer, Response):
                await answer
        except WorldError as error:
            self.context.say(f"[WARNING] plugin/loop: the probe found no upstream: {error}")


def setup(directive: Directive, _site: Site, context: Context) -> Loop:
    no_arguments(directive)
    no_block(directive)
    return Loop(context)
