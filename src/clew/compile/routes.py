"""Nodes to routes between them. Pure: the whole set from the whole of what is known, for it is small.

A node without an address in a family is not reachable in it; of two nodes that claim one range the first by name has
it. Both are problems of the node, shown on it, and touch no other node's routes.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface

from msgspec.structs import replace

from clew.base.addresses import Network, address, family_of, network, overlap
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
    """By destination, the ways from node `own` to the pods of all other nodes."""
    found: dict[str, PodRoute] = {}
    problems: list[Problem] = []
    ranges = _Ranges()
    here: Node | None = None
    for node in sorted(nodes, key=lambda node: (node.name != own, node.name)):  # our own ranges are ours first of all
        here = node if node.name == own else here
        for place, text in enumerate(node.pod_cidrs):
            field = f"spec.podCIDRs[{place}]"
            try:
                cidr = network(text)
            except ValueError as wrong:
                problems.append(Problem(node.origin, field, str(wrong)))
                continue
            if (other := ranges.claim(cidr, node.name)) is not None:
                problems.append(Problem(node.origin, field, f"{cidr} overlaps with a range of node {other}"))
                continue
            via = node.internal_ip(cidr.version)
            if node.name != own and not via:
                problems.append(Problem(node.origin, "status.addresses", f"no InternalIP of family IPv{cidr.version}"))
            elif node.name != own:
                tunnel = between.through(via)
                if tunnel in KEYED and (unkeyed := _unkeyed(node, tunnel)) is not None:
                    problems.append(unkeyed)  # the tunnel drops what is for nobody it knows
                source = here.internal_ip(cidr.version) if here is not None and tunnel else ""
                mtu = between.path_room(via, tunnel, here)
                found[str(cidr)] = PodRoute(str(cidr), via, node.origin, tunnel, source, mtu)
    return found, tuple(problems)


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
        return (_secure(own, cidrs, far, between, mtu),)
    found = []
    for family in (4, 6):
        local, encapsulation = own.internal_ip(family), between.carries(family)
        if not local or encapsulation is None:
            continue
        ends = (node.internal_ip(family) for node in others if (node.origin, family) in through)
        peers = tuple(TunnelEnd((end,), mtu=between.path_room(end, encapsulation, own)) for end in ends)
        sources = tuple(cidr for cidr in cidrs if family_of(cidr) == family)
        room = between.room(mtu, (family,), own)
        found.append(Tunnel(encapsulation, (local,), peers, sources, room, between.vni, between.port, own.origin))
    return tuple(found)


def _secure(own: Node, cidrs: list[str], others: Iterable[Node], between: Between, mtu: int) -> Tunnel:
    """One end for both families; a packet may come from a node's pods and from its own addresses."""
    kind = between.encapsulation or "wireguard"
    found = [peer for node in others if (peer := _keyed_end(own, node, between)) is not None]
    peers = tuple(replace(peer, mtu=between.path_room(peer.addresses[0], kind, own)) for peer in found)
    room = between.room(mtu, {family_of(cidr) for cidr in cidrs}, own)
    return Tunnel(kind, _own_addresses(own), peers, tuple(cidrs), room, 0, between.port, own.origin, between.key)


def _keyed_end(own: Node, node: Node, between: Between) -> TunnelEnd | None:
    pods = tuple(str(network(cidr)) for cidr in node.pod_cidrs)
    if between.encapsulation == "ipsec":
        return ipsec.end(own, node, between.ring, pods)
    return TunnelEnd(_own_addresses(node), node.wireguard_key, pods) if node.wireguard_key else None


def _unkeyed(node: Node, encapsulation: Encapsulation | None) -> Problem | None:
    """What is missing where a node has published no key."""
    annotation, kind = (ANNOTATION, "IPsec") if encapsulation == "ipsec" else (KEY_ANNOTATION, "WireGuard")
    if node.ipsec is not None if encapsulation == "ipsec" else node.wireguard_key:
        return None
    field = f"metadata.annotations[{annotation}]"
    return Problem(node.origin, field, f"its agent has published no {kind} key yet")


def _own_addresses(node: Node) -> tuple[str, ...]:
    """The node's own, one a family, its first before the other."""
    return tuple(ip for ip in dict.fromkeys(node.internal_ip(family_of(ip)) for ip in node.internal_ips) if ip)


class _Ranges:
    """Who has which range."""

    def __init__(self) -> None:
        self._owners: dict[Network, str] = {}
        self._lengths: set[tuple[int, int]] = set()

    def claim(self, cidr: Network, name: str) -> str | None:
        """Enter `cidr` for `name`; where it overlaps with another's, leave things as they are and name that one."""
        other = self._owner_of_part(cidr)
        if other is None:
            self._owners[cidr] = name
            if cidr.num_addresses > 1:
                self._lengths.add((cidr.version, cidr.prefixlen))
        return other

    def _owner_of_part(self, cidr: Network) -> str | None:
        """Single addresses inside another's range are not counted: they are lent, and the longest prefix wins."""
        if cidr in self._owners:
            return self._owners[cidr]
        if all(version != cidr.version or length == cidr.prefixlen for version, length in self._lengths):
            return None  # ranges of one length overlap only where they are equal, and this is how clusters are
        if cidr.num_addresses == 1:
            return None
        owners = self._owners.items()
        return next((name for range_, name in owners if range_.num_addresses > 1 and overlap(cidr, range_)), None)
