"""any: the least that may be answered to a question for everything (RFC 8482); see README.md."""

from clew.servers.dns import wire
from clew.servers.dns.arguments import no_arguments, no_block
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response

_TTL = 8482


def _hinfo() -> bytes:
    texts = (b"ANY obsoleted", b"See RFC 8482")
    return wire.body(wire.HINFO, _TTL, b"".join(bytes((len(text),)) + text for text in texts))


class AnyType(Plugin):
    def wrap(self, following: Handler) -> Handler:
        body = wire.TO_QUESTION + _hinfo()

        def handle(query: Query) -> Answer:
            if query.qtype != wire.ANY:
                return following(query)
            return Response(answers=(body,), private=True)

        return handle


def setup(directive: Directive, _site: Site, _context: Context) -> AnyType:
    no_arguments(directive)
    no_block(directive)
    return AnyType()
