"""hosts: names from lines of `ADDRESS NAME...` in the block itself; the rest falls through where that is asked for."""

from ipaddress import ip_address

from clew.ir.names import Record, RecordType
from clew.servers.dns import wire
from clew.servers.dns.arguments import number, one_argument
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response
from clew.servers.dns.zone import Zone


class Hosts(Passive):
    """Answers A, AAAA and PTR; a name that it has answers NODATA for other types."""

    def __init__(self, zone: Zone, *, fallthrough: bool) -> None:
        self.zone = zone
        self.fallthrough = fallthrough

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            sets = self.zone.find(query.lower)
            if not sets:
                return following(query) if self.fallthrough else Response(rcode=wire.NXDOMAIN, authoritative=True)
            bodies = sets.get(query.qtype, {})
            return Response(answers=wire.owned_by_question(tuple(bodies)), authoritative=True)

        return handle


def host_records(address: str, names: tuple[str, ...]) -> list[Record]:
    """A or AAAA for each name, and a PTR to the first; ValueError for what is no address or name."""
    ip = ip_address(address)
    kind: RecordType = "A" if ip.version == 4 else "AAAA"
    forward = [Record(name, kind, str(ip)) for name in names]
    return [*forward, Record(ip.reverse_pointer, "PTR", names[0])]


def setup(directive: Directive, _site: Site, _context: Context) -> Hosts:
    for word in directive.arguments:
        raise word.error("hosts reads no file here", "write ADDRESS NAME lines in its block")
    ttl, fallthrough = 3600, False
    lines: list[tuple[Directive, list[Record]]] = []
    for inner in directive.block:
        match inner.name.text:
            case "fallthrough":
                fallthrough = True
            case "ttl":
                ttl = number(one_argument(inner), 1)
            case address:
                try:
                    lines.append((inner, host_records(address, tuple(word.text for word in inner.arguments))))
                except (ValueError, IndexError):
                    raise inner.name.error("expected ADDRESS NAME...", "e.g. 203.0.113.1 www.example") from None
    zone = Zone(".", ttl)
    for at, (_, records) in enumerate(lines):
        zone.put(at, records)
    return Hosts(zone, fallthrough=fallthrough)
