"""Which router's word a node follows for a destination, from what all of them say. Pure."""

from collections.abc import Iterable

from clew.base.addresses import address, family_of, network
from clew.ir.routing import Speaker


def next_hop(own: Speaker, others: Iterable[Speaker], destination: str) -> str:
    """The address of the node that takes a packet for a pod; "" where nobody announces it, or nobody is believed."""
    target = address(destination)
    if not any(target in network(prefix) for prefix in own.believed):
        return ""
    if any(target in network(prefix) for prefix in own.elsewhere):
        return ""
    best: tuple[int, str] = (-1, "")
    heard = {each.address for each in own.neighbours}
    for other in others:
        near = next((each for each in other.addresses if family_of(each) == target.version), "")
        known = own.protocol == "ospf" or near in heard or _reflected(own, other, heard)
        for prefix in other.announced if near and known else ():
            found = network(prefix)
            if target in found and found.prefixlen > best[0]:
                best = found.prefixlen, near
    return best[1]


def _reflected(own: Speaker, other: Speaker, heard: set[str]) -> bool:
    """Whether a router that we hear tells us what `other` says: it hears that one too."""
    theirs = {each.address for each in other.neighbours}
    return bool(heard & theirs) and own.protocol == "bgp"
