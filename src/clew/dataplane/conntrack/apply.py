"""Reading the kernel's connections and forgetting the stale ones. Blocking; called by node/proxy after rules are in."""

from collections.abc import Iterable

from clew.base.addresses import Family
from clew.dataplane.conntrack.stale import UdpTruth, stale
from clew.kernel.conntrack import Conntrack


def forget_stale(conntrack: Conntrack, family: Family, truth: UdpTruth, node_addresses: Iterable[str]) -> int:
    """How many flows were forgotten. Rules have to be right before, or new flows take the old way again."""
    places = {place: backends for place, backends in truth.places.items() if place[0] == family}
    if not places:
        return 0
    return conntrack.delete(stale(conntrack.flows(family, "UDP"), UdpTruth(places), node_addresses))
