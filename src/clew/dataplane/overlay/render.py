"""Tunnels to kernel objects. Pure: names and MACs by rule, so that every node knows the others' without being told."""

import hashlib
from collections.abc import Iterable
from ipaddress import IPv6Address

from clew.base.addresses import address, family_of
from clew.dataplane.overlay.objects import IPIP, VXLAN, FromPods, Overlay, PeerRoute, TunnelLink, TunnelPeer
from clew.ir.routes import Encapsulation, Tunnel


def device(encapsulation: Encapsulation, family: int) -> str:
    """The link that carries a family's tunnels."""
    return IPIP if encapsulation == "ipip" else VXLAN[family]


def mac_of(node: str) -> str:
    """Of the vxlan end on the node with this address: locally administered, from the address alone."""
    digest = hashlib.sha256(address(node).packed).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0E, *digest[:5]))


def gateway(node: str) -> str:
    """By which routes name the other end on this node.

    Its own address, except in IPv6: there the kernel refuses a gateway that another link's subnet holds (`onlink` or
    not), and takes the link-local address that its MAC makes (RFC 4291, appendix A).
    """
    if family_of(node) == 4:
        return node
    octets = [int(part, 16) for part in mac_of(node).split(":")]
    tail = bytes([octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]])
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + tail))


def overlay(tunnels: Iterable[Tunnel]) -> Overlay:
    """Everything that these tunnels need beside the routes to pods."""
    links: list[TunnelLink] = []
    peers: list[TunnelPeer] = []
    routes: list[PeerRoute] = []
    rules: list[FromPods] = []
    for tunnel in tunnels:
        link = _link(tunnel)
        links.append(link)
        if link.kind == "vxlan":
            peers += [TunnelPeer(link.name, gateway(peer), mac_of(peer), peer) for peer in tunnel.peers]
        routes += [PeerRoute(_whole(peer), gateway(peer), link.name) for peer in tunnel.peers]
        rules += [FromPods(source) for source in tunnel.sources if tunnel.peers]
    return Overlay(tuple(links), tuple(peers), tuple(routes), tuple(rules))


def _link(tunnel: Tunnel) -> TunnelLink:
    name = device(tunnel.encapsulation, family_of(tunnel.local))
    own = _whole(tunnel.local)
    if tunnel.encapsulation == "ipip":
        return TunnelLink(name, "ipip", "", own, tunnel.mtu)
    return TunnelLink(name, "vxlan", tunnel.local, own, tunnel.mtu, mac_of(tunnel.local), tunnel.vni, tunnel.port)


def _whole(ip: str) -> str:
    return f"{ip}/{128 if ':' in ip else 32}"
