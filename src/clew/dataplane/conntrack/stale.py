"""Which UDP flows lead to a backend that no longer serves them. Pure: a function of the truth and of what was read.

Connection tracking remembers the choice that was made for the first packet. A TCP client notices when its backend
goes; a UDP client that keeps its port (a DNS resolver) would send into the void for as long as it keeps asking. So
flows to an address or node port of a service whose answering side no longer serves it are to be forgotten. Backends
that are ending but still serve keep their flows. TCP and SCTP are left alone, as kube-proxy does since 1.32.
"""

from collections.abc import Iterable, Mapping

from clew.base.addresses import Family
from clew.base.value import Value
from clew.ir.balancing import Balancer
from clew.kernel.conntrack import Flow

Backends = frozenset[tuple[str, int]]
Place = tuple[Family, str, int]  # address "" for a node port
NOBODY: Backends = frozenset()


class UdpTruth(Value):
    """What serves each UDP address and port of some services now; an entry without backends: nobody does."""

    places: dict[Place, Backends]

    def __bool__(self) -> bool:
        return bool(self.places)


def udp_truth(before: Iterable[Balancer], after: Iterable[Balancer]) -> UdpTruth:
    """The places of services that lost a backend or a place, with who serves them now.

    What was only added to leaves no stale flow behind; and a service's flows are never touched for another's change.
    """
    was, now = _places(before), _places(after)
    places = {place: now.get(place, NOBODY) for place, backends in was.items() if backends - now.get(place, NOBODY)}
    # Flows from before anybody served the place lead nowhere; they are found by not being translated at all.
    places |= {place: backends for place, backends in now.items() if backends and not was.get(place)}
    return UdpTruth(places)


def _places(balancers: Iterable[Balancer]) -> dict[Place, Backends]:
    found: dict[Place, Backends] = {}
    for balancer in balancers:
        frontends = [frontend for frontend in balancer.frontends if frontend.protocol == "UDP"]
        if not frontends:
            continue
        serving = (*balancer.cluster, *balancer.local, *balancer.others)
        backends = frozenset((each.address, each.port) for each in serving)
        for frontend in frontends:
            found[balancer.family, frontend.address, frontend.port] = backends
    return found


def stale(flows: Iterable[Flow], truth: UdpTruth, node_addresses: Iterable[str]) -> list[Flow]:
    """The flows to forget. `node_addresses`: where node ports are, for flows that were never translated."""
    here = frozenset(node_addresses)
    return [flow for flow in flows if _is_stale(flow, truth.places, here)]


def _is_stale(flow: Flow, places: Mapping[Place, Backends], here: frozenset[str]) -> bool:
    backends = places.get((flow.family, flow.destination, flow.destination_port))
    if backends is None and (flow.translated or flow.destination in here):
        backends = places.get((flow.family, "", flow.destination_port))
    return backends is not None and (flow.reply_source, flow.reply_source_port) not in backends
