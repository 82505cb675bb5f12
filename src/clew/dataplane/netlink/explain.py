"""A kernel object of ours -> the one sentence that says why it is there. Pure."""

from clew.dataplane.netlink.objects import LINK_GROUP, ROUTE_PROTO, BridgeLink, NodeRoute, Port


def explain_port(port: Port) -> str:
    addresses = ", ".join(own.partition("/")[0] for own in port.pod.addresses)
    return f"{port.link.name} is the host's end of {port.pod.ifname} of {port.origin} ({addresses}); group {LINK_GROUP}"


def explain_bridge(bridge: BridgeLink) -> str:
    return f"{bridge.name} is the switch of this node's pods and their gateway {', '.join(bridge.addresses)}"


def explain_route(route: NodeRoute, origin: str) -> str:
    if route.nobody:
        return f"{route.destination} is this node's range: an address that no pod has is refused; proto {ROUTE_PROTO}"
    when = ", where no routing protocol leads there" if route.behind else ""
    return f"{route.destination} are the pods of {origin}, reached at {route.via}{when}; proto {ROUTE_PROTO}"
