"""Which packets leave a node in a tunnel, from the rendered objects. Pure."""

from collections.abc import Iterable
from typing import TypeVar

from clew.base.addresses import address, network
from clew.base.value import Value
from clew.dataplane.overlay.objects import EspPeer, Overlay, SecurePeer

P = TypeVar("P", SecurePeer, EspPeer)


class Outer(Value):
    """The tunnel that a packet takes: its device, and where the outer packet goes."""

    dev: str
    remote: str


def to_node(overlay: Overlay, source: str, destination: str) -> Outer | None:
    """What a packet from `source` to another node's own address goes through; None: it travels as it is."""
    if not any(address(source) in network(rule.source) for rule in overlay.rules):
        return None
    route = next((each for each in overlay.routes if address(destination) in network(each.destination)), None)
    return None if route is None else outer(overlay, route.dev, route.via, destination)


def refused(overlay: Overlay, destination: str) -> bool:
    """Whether a packet for another node's pod ends here, should its tunnel's device be gone."""
    return any(address(destination) in network(each.destination) for each in overlay.shut)


def outer(overlay: Overlay, dev: str, via: str, destination: str) -> Outer | None:
    """Where a packet ends up that a route sends by `via` over the tunnel `dev`; None: it is dropped there."""
    link = next((each for each in overlay.links if each.name == dev), None)
    if link is None:
        return None
    if link.kind == "ipip":
        return Outer(dev, via)
    if link.kind == "wireguard":
        end = _end(overlay.secure, dev, destination)
        return None if end is None else Outer(dev, end.endpoint.rpartition(":")[0].strip("[]"))
    if link.kind == "ipsec":
        far = _end(overlay.esp, dev, destination)
        return None if far is None or not far.outbound else Outer(dev, far.remote)
    peer = next((each for each in overlay.peers if (each.dev, each.gateway) == (dev, via)), None)
    return None if peer is None else Outer(dev, peer.remote)  # nobody answers for what was not entered


def _end(ends: Iterable[P], dev: str, destination: str) -> P | None:
    """The one with the longest prefix that holds the address."""
    found = [
        (prefix.prefixlen, place, each)
        for place, each in enumerate(ends)
        for prefix in map(network, each.allowed)
        if each.dev == dev and address(destination) in prefix
    ]
    return max(found, default=(0, 0, None))[2]
