"""Which way a packet for a pod takes out of a node, from the rendered objects. Pure."""

from collections.abc import Iterable
from ipaddress import ip_interface

from clew.base.addresses import address, network
from clew.base.value import Value
from clew.dataplane.netlink.objects import BridgeLink, NodeRoute, Port


class Way(Value):
    """Where the packet goes next: a pod's port, a node by `via`, the bridge with nobody there, or none of ours."""

    kind: str  # "port", "node", "nobody", "elsewhere"
    port: Port | None = None
    via: str = ""


def forward(bridge: BridgeLink | None, ports: Iterable[Port], routes: Iterable[NodeRoute], destination: str) -> Way:
    """As the kernel decides: the longest prefix that holds the destination, the bridge's own ranges among them."""
    target = address(destination)
    own = [ip_interface(gateway).network for gateway in bridge.addresses] if bridge is not None else []
    plugged = any(target in range_ for range_ in own)
    holder = next((port for port in ports if _has(port, destination) and (plugged or not port.link.master)), None)
    if holder is not None or plugged:
        return Way("port", holder) if holder is not None else Way("nobody")
    matching = [route for route in routes if target in network(route.destination)]
    if not matching:
        return Way("elsewhere")
    best = max(matching, key=lambda route: (network(route.destination).prefixlen, not route.behind))
    return Way("nobody") if best.nobody else Way("node", via=best.via)


def _has(port: Port, destination: str) -> bool:
    return any(own.partition("/")[0] == destination for own in port.pod.addresses)
