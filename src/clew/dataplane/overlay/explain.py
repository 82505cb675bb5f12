"""A kernel object of the overlay -> the one sentence that says why it is there. Pure."""

from clew.dataplane.overlay.objects import (
    PROTO,
    SHUT_PROTO,
    TABLE,
    EspPeer,
    FromPods,
    PeerRoute,
    SecurePeer,
    Shut,
    TunnelLink,
    TunnelPeer,
)


def explain_link(link: TunnelLink) -> str:
    kinds = {
        "vxlan": f"VNI {link.vni}, UDP port {link.port}", "wireguard": f"WireGuard, UDP port {link.port}",
        "ipsec": f"ESP, states and policies of if_id {link.if_id}",
    }  # fmt: skip
    what = kinds.get(link.kind, "IP in IP")
    return (
        f"{link.name} is this node's end of the tunnels to other nodes ({what}); {link.mtu} bytes fit into one packet"
    )


def explain_peer(peer: TunnelPeer) -> str:
    return f"{peer.mac} is the other end of {peer.dev} on the node {peer.remote}, known by rule and never asked for"


def explain_secure(peer: SecurePeer) -> str:
    return f"{peer.dev} encrypts what is for {', '.join(peer.allowed)} and sends it to {peer.endpoint} ({peer.key})"


def explain_esp(peer: EspPeer) -> str:
    """SPIs as `ip xfrm state` shows them."""
    sent = f"{peer.outbound[-1].spi:#010x}" if peer.outbound else "none yet"
    taken = ", ".join(f"{each.spi:#010x}" for each in peer.inbound) or "none yet"
    return (
        f"{peer.dev} encrypts what is for {', '.join(peer.allowed)} and sends it to {peer.remote} under SPI {sent}; "
        f"from there it takes SPI {taken}, and nothing in the clear"
    )


def explain_route(route: PeerRoute) -> str:
    return f"what pods of this node send to the node {route.destination} itself goes through {route.dev}; table {TABLE}"


def explain_shut(shut: Shut) -> str:
    return (
        f"what is for {shut.destination} is refused as long as its encrypted tunnel has no device; proto {SHUT_PROTO}"
    )


def explain_rule(rule: FromPods) -> str:
    return f"packets of this node's pods ({rule.source}) look into table {TABLE} first; proto {PROTO}"
