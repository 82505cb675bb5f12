"""minimal: answers without what was not asked for; see README.md."""

from clew.servers.dns import message, wire
from clew.servers.dns.arguments import no_arguments, no_block
from clew.servers.dns.chain import Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response, WireError


class Minimal(Plugin):
    def wrap(self, following: Handler) -> Handler:
        return lambda query: then(following(query), lambda response: _least(response, query))


def _least(response: Response, query: Query) -> Response:
    if response.raw and not query.dnssec_ok and response.raw[8:12] != b"\0\0\0\0":
        try:
            response = message.opened(response, query)
        except WireError:
            return response
    if response.rcode == wire.NOERROR and response.answers:
        response.authority, response.additional = (), ()
    return response


def setup(directive: Directive, _site: Site, _context: Context) -> Minimal:
    no_arguments(directive)
    no_block(directive)
    return Minimal()
