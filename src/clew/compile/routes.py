"""Nodes to routes between them. Pure: the whole set from the whole of what is known, for it is small.

A node without an address in a family is not reachable in it, and one without a key of its own is sent nothing where the
tunnel encrypts. Both are problems of the node, shown on it, and touch no other node's routes.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface

from msgspec.structs import replace

from clew.base.addresses import address, family_of
from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile import ipsec
from clew.compile.ipam import Pool
from clew.compile.ipsec import Ring
from clew.facts.ipsec import ANNOTATION
from clew.facts.node import KEY_ANNOTATION, Node
from clew.ir.routes import Encapsulation, PodRoute, Tunnel, TunnelEnd

# What a tunnel's headers take of the link's MTU, by encapsulation and family of the outer addresses: RFC 7348 with
# an Ethernet header inside (8 + 8 + 14 and the outer IP header), RFC 2003, WireGuard's data message (32 + 8 of UDP),
# RFC 4303 with RFC 4106 (header 8, IV 8, two bytes of trailer, ICV 16) where no padding is needed.
OVERHEAD: Mapping[tuple[Encapsulation, int], int] = {
    ("vxlan", 4): 50, ("vxlan", 6): 70, ("ipip", 4): 20, ("wireguard", 4): 60, ("wireguard", 6): 80,
    ("ipsec", 4): 54, ("ipsec", 6): 74,
}  # fmt: skip
VNI = 1
PORTS: Mapping[Encapsulation, int] = {"vxlan": 8472, "ipip": 0, "wireguard": 51820, "ipsec": 0}  # flannel's on Linux
KEYED = frozenset({"wireguard", "ipsec"})  # one end for both families, and nobody is spoken to without a key
LEAST = {4: 68, 6: 1280}  # bytes below which a family does not work (RFC 791, RFC 8200)


class Between(Value):
    """How packets travel between nodes. `subnets` are those of this node's own addresses, as its kernel has them."""

    encapsulation: Encapsulation | None = None
    cross_subnet: bool = False  # encapsulate only what leaves the node's own subnets
    subnets: tuple[str, ...] = ()  # "172.30.0.11/24"
    vni: int = VNI
    port: int = 0  # UDP
    key: str = ""  # wireguard: this node's own public key
    ring: Ring = Ring()  # ipsec: where this node stands
    paths: Mapping[str, int] = {}  # by a node's address, what the path to it takes where that is less than our link

    def carries(self, family: int) -> Encapsulation | None:
        """The encapsulation of a family; IPIP is one of IPv4 in IPv4 alone, other packets travel as they are."""
        return self.encapsulation if (self.encapsulation, family) in OVERHEAD else None

    def through(self, via: str) -> Encapsulation | None:
        """The tunnel that leads to the node at `via`."""
        near = self.cross_subnet and any(address(via) in ip_interface(subnet).network for subnet in self.subnets)
        return None if near else self.carries(family_of(via))

    def room(self, mtu: int, families: Iterable[int], own: Node) -> int:
        """What a link of `mtu` leaves to a packet of these families' pods, in bytes."""
        if self.encapsulation is None:
            return mtu
        if self.encapsulation == "ipsec":
            left = mtu - OVERHEAD["ipsec", 4 if own.internal_ip(4) else 6]  # as `ipsec.outer` has it
            return left - (left + 2) % 4  # what is encrypted ends at a multiple of four bytes, trailer included
        return mtu - max((OVERHEAD.get((self.encapsulation, each), 0) for each in families), default=0)

    def path_room(self, via: str, tunnel: Encapsulation | None, own: Node | None) -> int:
        """What the path to `via` leaves to a packet for a pod there; 0: as much as the link."""
        path, family = self.paths.get(via, 0), family_of(via)
        if not path or own is None:
            return 0
        return max(LEAST[family], self.room(path, (family,), own) if tunnel else path)


DIRECT = Between()


def routes(
    nodes: Iterable[Node], own: str, between: Between = DIRECT
) -> tuple[dict[str, PodRoute], tuple[Problem, ...]]:
    """By destination, the ways from node `own` to all others' pods; `nodes` are as `ranges.claimed` left them."""
    found: dict[str, PodRoute] = {}
    problems: list[Problem] = []
    ordered = sorted(nodes, key=lambda node: (node.name != own, node.name))
    here = ordered[0] if ordered and ordered[0].name == own else None
    holders = _key_holders(ordered, own, between)
    for node in ordered:
        for cidr in node.pod_cidrs if node.name != own else ():
            family = family_of(cidr)
            via = node.internal_ip(family)
            if not via:
                problems.append(Problem(node.origin, "status.addresses", f"no InternalIP of family IPv{family}"))
                continue
            tunnel = between.through(via)
            if tunnel in KEYED and (unkeyed := _unkeyed(node, tunnel, holders)) is not None:
                problems.append(unkeyed)  # the tunnel drops what is for nobody it knows
            source = here.internal_ip(family) if here is not None and tunnel else ""
            if here is not None and tunnel and not source and tunnel not in KEYED:
                text = f"no InternalIP of family IPv{family}, at which a tunnel for these pods would begin"
                problems.append(Problem(here.origin, "status.addresses", text))
                continue
            found[cidr] = PodRoute(cidr, via, node.origin, tunnel, source, between.path_room(via, tunnel, here))
    return found, tuple(dict.fromkeys(problems))


def tunnels(
    own: Node, pools: Iterable[Pool], nodes: Iterable[Node], ways: Iterable[PodRoute], between: Between, mtu: int
) -> tuple[Tunnel, ...]:
    """The node's own ends of the tunnels that `ways` lead through; `mtu` is that of the link below, in bytes.

    One is there as long as its backend is chosen, with or without other nodes: the first packet finds it up.
    """
    cidrs = [pool.cidr for pool in pools]
    through = {(way.origin, family_of(way.via)) for way in ways if way.tunnel}
    others = sorted((node for node in nodes if node.name != own.name), key=lambda node: node.name)
    if between.encapsulation in KEYED:
        far = [node for node in others if any((node.origin, each) in through for each in (4, 6))]
        holders = _key_holders([own, *others], own.name, between)
        ends = [end for node in far if (end := _keyed_end(own, node, between, holders)) is not None]
        return (_secure(own, cidrs, ends, between, mtu),)
    found = []
    for family in (4, 6):
        local, encapsulation = own.internal_ip(family), between.carries(family)
        if not local or encapsulation is None:
            continue
        far_ips = (node.internal_ip(family) for node in others if (node.origin, family) in through)
        peers = tuple(TunnelEnd((ip,), mtu=between.path_room(ip, encapsulation, own)) for ip in far_ips)
        sources = tuple(cidr for cidr in cidrs if family_of(cidr) == family)
        room = between.room(mtu, (family,), own)
        found.append(Tunnel(encapsulation, (local,), peers, sources, room, between.vni, between.port, own.origin))
    return tuple(found)


def _secure(own: Node, cidrs: list[str], ends: Iterable[TunnelEnd], between: Between, mtu: int) -> Tunnel:
    """One end for both families; a packet may come from a node's pods and from its own addresses."""
    kind = between.encapsulation or "wireguard"
    peers = tuple(replace(end, mtu=between.path_room(end.addresses[0], kind, own)) for end in ends)
    room = between.room(mtu, {family_of(cidr) for cidr in cidrs}, own)
    return Tunnel(kind, _own_addresses(own), peers, tuple(cidrs), room, 0, between.port, own.origin, between.key)


def _keyed_end(own: Node, node: Node, between: Between, holders: Mapping[str, str]) -> TunnelEnd | None:
    if between.encapsulation == "ipsec":
        return ipsec.end(own, node, between.ring, node.pod_cidrs)
    key = node.wireguard_key
    return TunnelEnd(_own_addresses(node), key, node.pod_cidrs) if key and holders[key] == node.name else None


def _key_holders(nodes: Iterable[Node], own: str, between: Between) -> Mapping[str, str]:
    """By WireGuard key the first node that has it: the kernel knows a peer by its key alone, and none by its own."""
    found = {between.key: own}
    for node in nodes:
        found.setdefault(node.wireguard_key, node.name)
    return found


def _unkeyed(node: Node, encapsulation: Encapsulation | None, holders: Mapping[str, str]) -> Problem | None:
    """What is missing where a node has published no key, or that of another."""
    annotation, kind = (ANNOTATION, "IPsec") if encapsulation == "ipsec" else (KEY_ANNOTATION, "WireGuard")
    field = f"metadata.annotations[{annotation}]"
    if node.ipsec is None if encapsulation == "ipsec" else not node.wireguard_key:
        return Problem(node.origin, field, f"its agent has published no {kind} key yet")
    if encapsulation == "wireguard" and (first := holders[node.wireguard_key]) != node.name:
        remedy = "remove wireguard.key from the stateDir of one of them and start its agent again"
        return Problem(node.origin, field, f"it is the key of node {first}, too: {remedy}")
    return None


def _own_addresses(node: Node) -> tuple[str, ...]:
    """The node's own, one a family, its first before the other."""
    return tuple(ip for ip in dict.fromkeys(node.internal_ip(family_of(ip)) for ip in node.internal_ips) if ip)
