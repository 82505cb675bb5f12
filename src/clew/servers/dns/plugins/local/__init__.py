"""local: localhost and its reverse names are answered here and asked of nobody; see README.md."""

from clew.ir.names import Record
from clew.servers.dns import wire
from clew.servers.dns.arguments import no_arguments, no_block
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response
from clew.servers.dns.zone import Zone

_APEXES = ("localhost", "0.in-addr.arpa", "127.in-addr.arpa", "255.in-addr.arpa")
_LAST6 = "1." + "0." * 31 + "ip6.arpa"
_RECORDS = (
    Record("localhost", "A", "127.0.0.1"), Record("localhost", "AAAA", "::1"),
    Record("1.0.0.127.in-addr.arpa", "PTR", "localhost"), Record(_LAST6, "PTR", "localhost"),
)  # fmt: skip
_TTL = 604_800


class Local(Plugin):
    def __init__(self) -> None:
        self.zones = [Zone(apex, _TTL) for apex in (*_APEXES, _LAST6)]
        for zone in self.zones:
            zone.put("own", [each for each in _RECORDS if zone.holds(wire.name_to_wire(each.name))])

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            zone = next((zone for zone in self.zones if zone.holds(query.lower)), None)
            if zone is not None and query.qclass == wire.IN:
                return zone.answer(query)
            labels = wire.labels(query.lower)
            if len(labels) > 1 and labels[0] == b"localhost":  # localhost.DOMAIN: a resolver's search path
                bodies = (self.zones[0].find(self.zones[0].apex) or {}).get(query.qtype, ())
                return Response(answers=[wire.TO_QUESTION + each for each in bodies], authoritative=True, lasting=())
            return following(query)

        return handle


def setup(directive: Directive, _site: Site, _context: Context) -> Local:
    no_arguments(directive)
    no_block(directive)
    return Local()
