"""kubernetes: the names of the Kubernetes DNS specification 1.1.0, from zones in memory.

What fills the zones is not seen from here: `app.dns` feeds them with what `compile.dns` makes of services and slices.
"""

from collections.abc import Hashable, Iterable
from ipaddress import IPv6Address, ip_address

from clew.ir.names import Record
from clew.servers.dns import wire
from clew.servers.dns.arguments import number, one_argument
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response
from clew.servers.dns.zone import Zone

REVERSE = ("in-addr.arpa", "ip6.arpa")


def _pod_address(label: bytes) -> str:
    """`10-244-1-5` or `fd00--5` to an address; empty where it is none."""
    text = label.decode("ascii", "replace")
    for separator in (".", ":"):
        try:
            return str(ip_address(text.replace("-", separator)))
        except ValueError:
            continue
    return ""


class Kubernetes(Passive):
    """Zones by apex; `synced` tells whether the first full list has been fed."""

    def __init__(self, zones: tuple[str, ...], ttl: int, pods: str, fall: tuple[str, ...] | None) -> None:
        self.zones = tuple(Zone(apex, ttl) for apex in zones)
        self.cluster_zones = tuple(z for z, name in zip(self.zones, zones, strict=True) if name not in REVERSE)
        self.domain = next((name for name in zones if name not in REVERSE), "cluster.local")
        self.pods = pods
        self.ttl = ttl
        self.synced = False
        self.namespaces: frozenset[str] = frozenset()
        self._fall = None if fall is None else tuple(wire.name_to_wire(name) for name in fall)
        for zone in self.cluster_zones:
            zone.put("dns-version", (Record(f"dns-version.{self.domain}", "TXT", "1.1.0"),))

    def feed(self, key: Hashable, records: Iterable[Record]) -> None:
        """Replace what one object gives rise to, in every zone that holds it."""
        by_zone: dict[int, list[Record]] = {}
        for record in records:
            name = wire.name_to_wire(record.name.lower())
            for at, zone in enumerate(self.zones):
                if zone.holds(name):
                    by_zone.setdefault(at, []).append(record)
        for at, zone in enumerate(self.zones):
            zone.put(key, by_zone.get(at, ()))

    def _zone_of(self, lower: bytes) -> Zone | None:
        best = None
        for zone in self.zones:
            if zone.holds(lower) and (best is None or len(zone.apex) > len(best.apex)):
                best = zone
        return best

    def _falls(self, lower: bytes) -> bool:
        if self._fall is None:
            return False
        return not self._fall or any(lower.endswith(name) for name in self._fall)

    def _pod(self, query: Query, zone: Zone) -> Response | None:
        """`a-b-c-d.NAMESPACE.pod.DOMAIN`, computed: `pods insecure` vouches for nothing."""
        parts = wire.labels(query.lower[: -len(zone.apex)] + b"\0")
        if self.pods != "insecure" or len(parts) != 3 or parts[2] != b"pod":
            return None
        address = _pod_address(parts[0])
        if not address or parts[1].decode("ascii", "replace") not in self.namespaces:
            return zone.negative(wire.NXDOMAIN)
        ip = ip_address(address)
        kind = wire.AAAA if isinstance(ip, IPv6Address) else wire.A
        if query.qtype not in {kind, wire.ANY}:
            return zone.negative(wire.NOERROR)
        record = wire.body(kind, self.ttl, ip.packed)
        return Response(answers=wire.owned_by_question((record,)), authoritative=True)

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            zone = self._zone_of(query.lower)
            if zone is None:
                return following(query)
            if not self.synced:
                return Response(rcode=wire.SERVFAIL)  # better asked again than told that it does not exist
            response = zone.answer(query)
            if response.rcode == wire.NXDOMAIN:
                pod = self._pod(query, zone)
                if pod is not None:
                    return pod
                if self._falls(query.lower):
                    return following(query)
            return response

        return handle


def setup(directive: Directive, site: Site, context: Context) -> Kubernetes:
    zones = tuple(word.text.removesuffix(".").lower() for word in directive.arguments) or site.zones
    ttl, pods = 5, "disabled"
    fall: tuple[str, ...] | None = None
    for inner in directive.block:
        match inner.name.text:
            case "ttl":
                ttl = number(one_argument(inner))
                if ttl > 3600:
                    raise inner.arguments[0].error("a ttl above 3600", "write 0 to 3600")
            case "pods":
                pods = one_argument(inner).text
                if pods not in {"disabled", "insecure"}:
                    raise inner.arguments[0].error(f"no pods mode {pods!r}", "disabled or insecure")
            case "fallthrough":
                fall = tuple(word.text.removesuffix(".").lower() for word in inner.arguments)
            case other:
                raise inner.name.error(f"kubernetes has no property {other!r}", "ttl, pods and fallthrough are known")
    plugin = Kubernetes(zones, ttl, pods, fall)
    context.readiness["kubernetes"] = lambda: plugin.synced
    return plugin
