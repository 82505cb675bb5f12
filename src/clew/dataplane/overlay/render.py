"""Tunnels to kernel objects. Pure: names and MACs by rule, so that every node knows the others' without being told."""

import hashlib
from collections.abc import Iterable
from ipaddress import IPv6Address

from clew.base.addresses import address, family_of, network, overlap, with_port
from clew.dataplane.overlay.objects import (
    IF_ID,
    IPIP,
    IPSEC,
    VXLAN,
    WIREGUARD,
    EspPeer,
    EspState,
    FromPods,
    Overlay,
    PeerRoute,
    SecurePeer,
    Shut,
    TunnelLink,
    TunnelPeer,
)
from clew.ir.routes import Association, Encapsulation, Tunnel, TunnelEnd


def device(encapsulation: Encapsulation, family: int) -> str:
    """The link that carries a family's tunnels."""
    return {"ipip": IPIP, "wireguard": WIREGUARD, "ipsec": IPSEC}.get(encapsulation) or VXLAN[family]


def mac_of(node: str) -> str:
    """Of the vxlan end on the node with this address: locally administered, from the address alone."""
    digest = hashlib.sha256(address(node).packed).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0E, *digest[:5]))


def gateway(encapsulation: Encapsulation, node: str) -> str:
    """By which routes name the other end on this node; "" where the tunnel finds it by the destination.

    The node's own address, except for VXLAN over IPv6: there the kernel refuses a gateway that another link's subnet
    holds (`onlink` or not), and takes the link-local address that its MAC makes (RFC 4291, appendix A).
    """
    if encapsulation in {"wireguard", "ipsec"}:
        return ""
    if family_of(node) == 4:
        return node
    octets = [int(part, 16) for part in mac_of(node).split(":")]
    tail = bytes([octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]])
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + tail))


def overlay(tunnels: Iterable[Tunnel]) -> Overlay:
    """Everything that these tunnels need beside the routes to pods."""
    links: list[TunnelLink] = []
    peers: list[TunnelPeer] = []
    secure: list[SecurePeer] = []
    esp: list[EspPeer] = []
    routes: list[PeerRoute] = []
    rules: list[FromPods] = []
    shut: list[Shut] = []
    for tunnel in tunnels:
        link = _link(tunnel)
        links.append(link)
        for peer in tunnel.peers:
            outer = peer.addresses[0]
            if tunnel.encapsulation == "vxlan":
                peers.append(TunnelPeer(link.name, gateway("vxlan", outer), mac_of(outer), outer))
            elif tunnel.encapsulation == "wireguard":
                secure.append(SecurePeer(link.name, peer.key, with_port(outer, tunnel.port), _allowed(peer)))
            elif tunnel.encapsulation == "ipsec":
                esp.append(_esp(link.name, peer, tunnel.sources))
            routes += [
                PeerRoute(_whole(address), gateway(tunnel.encapsulation, address), link.name, peer.mtu)
                for address in peer.addresses
            ]
            shut += [Shut(pods) for pods in peer.pods]  # named where the tunnel encrypts
        rules += [FromPods(source) for source in tunnel.sources if tunnel.peers]
    return Overlay(tuple(links), tuple(peers), tuple(secure), tuple(esp), tuple(routes), tuple(rules), tuple(shut))


def _allowed(peer: TunnelEnd) -> tuple[str, ...]:
    return tuple(sorted({*map(_whole, peer.addresses), *peer.pods}))


def _esp(dev: str, peer: TunnelEnd, own: Iterable[str]) -> EspPeer:
    """A range of the other's from which this node has borrowed an address is not guarded: its own pods are in it."""
    lent = [pods for pods in peer.pods if any(overlap(network(pods), network(each)) for each in own)]
    guarded = tuple(pods for pods in peer.pods if pods not in lent)
    outbound, inbound = (tuple(map(_state, each)) for each in (peer.outbound, peer.inbound))
    return EspPeer(dev, peer.remote, _allowed(peer), guarded, outbound, inbound, peer.stays)


def _state(each: Association) -> EspState:
    return EspState(each.source, each.target, each.spi, each.token, each.purpose)


def _link(tunnel: Tunnel) -> TunnelLink:
    local = tunnel.addresses[0]
    name = device(tunnel.encapsulation, family_of(local))
    own = tuple(sorted(map(_whole, tunnel.addresses)))
    if tunnel.encapsulation == "ipip":
        return TunnelLink(name, "ipip", "", own, tunnel.mtu)
    if tunnel.encapsulation == "wireguard":
        return TunnelLink(name, "wireguard", "", own, tunnel.mtu, port=tunnel.port, key=tunnel.key)
    if tunnel.encapsulation == "ipsec":
        return TunnelLink(name, "ipsec", "", own, tunnel.mtu, if_id=IF_ID)
    return TunnelLink(name, "vxlan", local, own, tunnel.mtu, mac_of(local), tunnel.vni, tunnel.port)


def _whole(ip: str) -> str:
    return f"{ip}/{128 if ':' in ip else 32}"
