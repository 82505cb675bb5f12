"""Nodes to what this node's router says, where routes are told by BGP or OSPF. Pure.

BGP: every node with every other (the mesh), or each with the route reflectors alone, and with the peers outside that
the configuration names. A node without an address in a family has no session in it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from clew.base.addresses import family_of
from clew.base.value import Value
from clew.compile.ipam import Pool
from clew.facts.node import Node
from clew.ir.routing import Neighbour, RoutingProtocol, Speaker

ASN = 64512  # the first of those for private use, RFC 6996


class Peer(Value):
    """A router outside, such as the one at the top of the rack; `nodes`: which speak to it, all where none is named."""

    address: str
    asn: int
    password: str = ""
    nodes: tuple[str, ...] = ()


class Routing(Value):
    """From the configuration, the same on every node."""

    protocol: RoutingProtocol
    asn: int = ASN
    mesh: bool = True
    reflectors: tuple[str, ...] = ()  # names of nodes; with any of them there is no mesh
    peers: tuple[Peer, ...] = ()


def speaker(
    own: Node, nodes: Iterable[Node], pools: Sequence[Pool], routing: Routing, ranges: Iterable[str],
    links: Iterable[str],
) -> Speaker:  # fmt: skip
    """`ranges` are those of all pods; nodes' own are added, should they lie outside. `links` lead to other nodes."""
    everyone = sorted(nodes, key=lambda node: node.name)
    believed = {*ranges, *(cidr for node in everyone for cidr in node.pod_cidrs)}
    addresses = tuple(ip for ip in (own.internal_ip(4), own.internal_ip(6)) if ip)
    return Speaker(
        routing.protocol,
        own.internal_ip(4) or _id_of(own.name),
        routing.asn,
        tuple(pool.cidr for pool in pools),
        tuple(sorted(believed)),
        addresses,
        tuple(links),
        tuple(_neighbours(own, everyone, routing, addresses)) if routing.protocol == "bgp" else (),
        own.origin,
    )


def _neighbours(own: Node, everyone: Iterable[Node], routing: Routing, addresses: Sequence[str]) -> Iterable[Neighbour]:
    families = [family_of(address) for address in addresses]
    reflects = own.name in routing.reflectors
    for node in everyone:
        near = node.name in routing.reflectors or reflects if routing.reflectors else routing.mesh
        if node.name == own.name or not near:
            continue
        client = reflects and node.name not in routing.reflectors
        for family in families:
            if address := node.internal_ip(family):
                yield Neighbour(node.name, address, routing.asn, client)
    for peer in routing.peers:
        if (not peer.nodes or own.name in peer.nodes) and family_of(peer.address) in families:
            yield Neighbour(peer.address, peer.address, peer.asn, password=peer.password)


def _id_of(name: str) -> str:
    """A router's id must be unique and look like an IPv4 address; a node without one takes it from its name."""
    return str(IPv4Address(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") | 0x80000000))
