"""From load balancing to ways and rules, one service at a time. Pure.

The proxy sees a connection only after it was redirected; who may use what, and which way a client takes, is decided by
rules. What is redirected has another destination when it comes to the filter: whatever still has a service's address
there was not to be served.
"""

from collections.abc import Iterable

from clew.base.xtables import comes_from, comment, whole
from clew.dataplane.userspace.objects import Hub, Line, Part, Way, WayKey
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.proxying import Settings

UNREACHABLE = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
SHORT_CUT, WAY, FATE, OTHER_STREAMS, OTHERS, NOBODY = range(6)  # the order of rules


def render(balancers: Iterable[Balancer], settings: Settings) -> Part:
    """What these balancers of the settings' family need."""
    ways: dict[WayKey, Way] = {}
    lines: list[Line] = []
    claims = set()
    for balancer in balancers:
        if balancer.family == settings.family:
            for frontend in balancer.frontends:
                one = _Frontend(balancer, frontend, settings)
                ways |= one.ways()
                lines += one.lines()
                if not frontend.address and frontend.protocol != "SCTP":
                    claims.add((frontend.protocol, frontend.port))
    return Part(ways, tuple(dict.fromkeys(lines)), frozenset(claims))


class _Frontend:
    """One address and port of one service port, or one port on the node."""

    def __init__(self, balancer: Balancer, frontend: Frontend, settings: Settings) -> None:
        self._balancer, self._frontend, self._settings = balancer, frontend, settings
        short_cut = frontend.policy == "Local" and frontend.scope == "external"
        self._usual = self._key("Local" if frontend.policy == "Local" else "Cluster")
        self._inside = self._key("Cluster") if short_cut else self._usual

    def _key(self, policy: str) -> WayKey:
        return WayKey(self._balancer.origin, self._frontend.protocol, "Local" if policy == "Local" else "Cluster")

    def ways(self) -> dict[WayKey, Way]:
        return {key: way for key in (self._usual, self._inside) if (way := self._way(key)).backends}

    def _way(self, key: WayKey) -> Way:
        balancer = self._balancer
        if key.protocol == "SCTP":  # a proxy of streams and datagrams cannot keep what SCTP adds to them
            return Way(())
        chosen = balancer.local if key.policy == "Local" else balancer.cluster
        rest = [each for each in (*balancer.cluster, *balancer.local, *balancer.others) if each not in chosen]
        return Way(_ats(chosen), tuple(dict.fromkeys(_ats(rest))), balancer.affinity)

    def lines(self) -> Iterable[Line]:
        containers: Hub = "KUBE-PORTALS-CONTAINER" if self._frontend.address else "KUBE-NODEPORT-CONTAINER"
        host: Hub = "KUBE-PORTALS-HOST" if self._frontend.address else "KUBE-NODEPORT-HOST"
        if self._way(self._inside).backends:
            if self._inside != self._usual:
                for each in comes_from(self._settings.pod_cidrs, self._settings.pod_interface):
                    yield Line(containers, SHORT_CUT, self._arriving(f"{each} "), self._inside)
            yield Line(host, WAY, f"{self._match()}-j REDIRECT --to-ports ", self._inside)
        if self._way(self._usual).backends:
            yield Line(containers, WAY, self._arriving(), self._usual)
        yield from self._guards()

    def _guards(self) -> Iterable[Line]:
        """What becomes of packets that are not redirected, or must not be."""
        frontend = self._frontend
        served = bool(self._way(self._usual).backends)
        elsewhere = self._balancer.any_backend and not served and frontend.protocol != "SCTP"
        fate = f"{self._match()}{'-j DROP' if elsewhere else self._refusal()}"
        if not frontend.address:
            if not served or self._settings.node_port_addresses:
                yield Line("KUBE-NODEPORT-NON-LOCAL", FATE, fate)
            return
        if frontend.sources is not None:
            for prefix in frontend.sources:
                allowed = f"-s {whole(prefix)} {self._match()}-j RETURN"
                yield Line("KUBE-PORTALS-FIREWALL", SHORT_CUT, allowed)
            yield Line("KUBE-PORTALS-FIREWALL", FATE, f"{self._match()}-j DROP")
        if elsewhere or (not served and frontend.scope == "external"):
            yield Line("KUBE-PORTALS-FILTER", FATE, fate)
        if frontend.scope == "internal":
            here = f"-d {whole(frontend.address)} "
            other = f"{here}-j REJECT --reject-with {UNREACHABLE[self._settings.family]}"
            yield Line("KUBE-PORTALS-FILTER", OTHER_STREAMS, f"{here}-p tcp -j REJECT --reject-with tcp-reset")
            yield Line("KUBE-PORTALS-FILTER", OTHERS, other)

    def _arriving(self, condition: str = "") -> str:
        """To the node's own address: the interface that a packet came in by may have none, and REDIRECT asks for it."""
        if not self._settings.node_addresses:
            return f"{condition}{self._match()}-j REDIRECT --to-ports "
        address = self._settings.node_addresses[0]
        here = f"[{address}]" if self._settings.family == 6 else address
        return f"{condition}{self._match()}-j DNAT --to-destination {here}:"

    def _match(self) -> str:
        frontend = self._frontend
        protocol = frontend.protocol.lower()
        address = f"-d {whole(frontend.address)} " if frontend.address else ""
        said = f"-m comment {comment(self._balancer.origin)}"
        return f"{address}-p {protocol} {said} -m {protocol} --dport {frontend.port} "

    def _refusal(self) -> str:
        kind = "tcp-reset" if self._frontend.protocol == "TCP" else UNREACHABLE[self._settings.family]
        return f"-j REJECT --reject-with {kind}"


def _ats(backends: Iterable[Backend]) -> tuple[tuple[str, int], ...]:
    return tuple((each.address, each.port) for each in backends)
