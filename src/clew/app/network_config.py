"""The section `network` of the agent's configuration and of a lab's file: how pods of different nodes reach each other.

A name alone (`network: vxlan`) stands for the section with nothing else said. Called by agent_config and lab_config.
"""

import re
from typing import Any, get_args

import msgspec

from clew.app.section import Section
from clew.base.addresses import address, network
from clew.base.errors import UserError
from clew.compile.routes import PORTS, VNI, Between
from clew.compile.routing import ASN, Peer, Routing
from clew.facts.attachment import Linking
from clew.ir.routes import Encapsulation
from clew.ir.routing import RoutingProtocol

BACKENDS: dict[str, Encapsulation | None] = {
    "host-gw": None, "vxlan": "vxlan", "ipip": "ipip", "wireguard": "wireguard", "ipsec": "ipsec", "bgp": None,
    "ospf": None,
}  # fmt: skip
PROTOCOLS: dict[str, RoutingProtocol] = {"bgp": "bgp", "ospf": "ospf"}
LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")  # RFC 3927, RFC 4291
POOLS = "pools"
IPAM = ("podCIDR", POOLS)
LINKS: tuple[Linking, ...] = get_args(Linking)
_MOST_ASN = 2**32 - 1
_MOST_VNI = 2**24 - 1
_MOST_PORT = 65535
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_PASSWORD = re.compile(r"[ !#-\[\]-~]{0,80}")  # neither quotes nor backslashes


class PeerConfiguration(Section):
    """A router outside the cluster; `nodes` names those that speak to it, all where it is empty."""

    address: str = ""
    asn: int = 0
    password: str = ""
    nodes: list[str] = msgspec.field(default_factory=list)


class BgpConfiguration(Section):
    """`routeReflectors` are names of nodes; with any of them the others speak to these alone."""

    asn: int = ASN
    mesh: bool = True
    route_reflectors: list[str] = msgspec.field(default_factory=list)
    peers: list[PeerConfiguration] = msgspec.field(default_factory=list)


class BirdConfiguration(Section):
    """A BIRD that runs on the nodes already: its control socket, and a file of ours that its own file includes.

    Both empty: one of our own.
    """

    socket: str = ""
    include: str = ""


class IpamConfiguration(Section):
    """Where pods' addresses come from: each node's spec.podCIDRs, or blocks of IPPools that nodes carve on demand."""

    type: str = "podCIDR"


class IpsecConfiguration(Section):
    """`secret` is the name of one in kube-system; its `keys` are as Cilium's, "ID rfc4106(gcm(aes)) HEX 128"."""

    secret: str = "clew-ipsec-keys"  # noqa: S105 - a name


class NetworkConfiguration(Section):
    """How pods hang together on a node and between nodes.

    `links`: on a bridge, or each by a route of its own. `crossSubnet`: encapsulate only what leaves the node's subnet,
    by `overlay` where bgp or ospf lead inside it. `port` is UDP; 0: 8472 or 51820, as flannel's are. The last three are
    ip-masq-agent's: where pods keep their own address though it lies outside the cluster.
    """

    backend: str = "host-gw"
    links: Linking = "bridge"
    cross_subnet: bool = False
    vni: int = VNI
    port: int = 0
    ipam: IpamConfiguration = msgspec.field(default_factory=IpamConfiguration)
    overlay: str = "vxlan"
    bird: BirdConfiguration = msgspec.field(default_factory=BirdConfiguration)
    bgp: BgpConfiguration = msgspec.field(default_factory=BgpConfiguration)
    ipsec: IpsecConfiguration = msgspec.field(default_factory=IpsecConfiguration)
    probe_path_mtu: bool = True
    non_masquerade_cidrs: list[str] = msgspec.field(default_factory=list, name="nonMasqueradeCIDRs")
    masq_link_local: bool = False
    masq_link_local_ipv6: bool = msgspec.field(default=False, name="masqLinkLocalIPv6")

    @property
    def encapsulation(self) -> Encapsulation | None:
        """What carries packets to other nodes: all of them, or those of other subnets."""
        across = self.cross_subnet and self.backend in PROTOCOLS
        return BACKENDS.get(self.overlay if across else self.backend)

    def plain(self) -> tuple[str, ...]:
        """Networks outside the cluster that see pods under their own addresses."""
        hides = (self.masq_link_local, self.masq_link_local_ipv6)
        local = [cidr for cidr, hidden in zip(LINK_LOCAL, hides, strict=True) if not hidden]
        return (*self.non_masquerade_cidrs, *local)

    def routing(self) -> Routing | None:
        """None where routes follow from the Nodes."""
        protocol, bgp = PROTOCOLS.get(self.backend), self.bgp
        if protocol is None:
            return None
        peers = tuple(Peer(each.address, each.asn, each.password, tuple(each.nodes)) for each in bgp.peers)
        return Routing(protocol, bgp.asn, bgp.mesh, tuple(bgp.route_reflectors), peers)

    def between(self, key: str = "") -> Between:
        """`key` is this node's public one, for wireguard."""
        encapsulation = self.encapsulation
        port = self.port or (PORTS[encapsulation] if encapsulation else 0)
        return Between(encapsulation, self.cross_subnet, vni=self.vni, port=port, key=key)


_OTHERS = [each.encode_name for each in msgspec.structs.fields(NetworkConfiguration)[2:]]


def parse(value: Any, where: str = "network") -> NetworkConfiguration:
    """A checked section from a decoded name or mapping; UserError names the field under `where`."""
    try:
        found = msgspec.convert({"backend": value} if isinstance(value, str) else value, NetworkConfiguration)
    except msgspec.ValidationError as wrong:
        fields = f"backend ({', '.join(BACKENDS)}) links ({', '.join(LINKS)}) {' '.join(_OTHERS)}"
        raise UserError(f"{where}: {wrong}", f"fields: {fields}") from None
    check(found, where)
    return found


def check(found: NetworkConfiguration, where: str = "network") -> None:
    """UserError names the first field that does not hold."""
    if found.backend not in BACKENDS:
        raise UserError(f"{where}.backend: {found.backend!r} is not known", f"use {', '.join(BACKENDS)}")
    tunnels = [name for name, kind in BACKENDS.items() if kind]
    if found.overlay not in tunnels:
        raise UserError(f"{where}.overlay: {found.overlay!r} encapsulates nothing", f"use {', '.join(tunnels)}")
    if found.cross_subnet and found.encapsulation is None:
        others = f"{', '.join(tunnels)}, or bgp or ospf with an overlay"
        raise UserError(f"{where}.crossSubnet: {found.backend} encapsulates nothing", f"choose {others} beside it")
    _check_bird(found.bird, f"{where}.bird")
    if not 1 <= found.vni <= _MOST_VNI:
        raise UserError(f"{where}.vni: {found.vni} is out of range", f"use 1 to {_MOST_VNI}")
    if not 0 <= found.port <= _MOST_PORT:
        raise UserError(f"{where}.port: {found.port} is out of range", f"use 1 to {_MOST_PORT}; 0 is the usual one")
    for place, cidr in enumerate(found.non_masquerade_cidrs):
        try:
            network(cidr)
        except ValueError as wrong:
            field = f"{where}.nonMasqueradeCIDRs[{place}]"
            raise UserError(f"{field}: {wrong}", "write it as 192.168.0.0/16 or fd00::/8") from None
    if not _NAME.fullmatch(found.ipsec.secret):
        raise UserError(f"{where}.ipsec.secret: {found.ipsec.secret!r} is no Secret's name", "use clew-ipsec-keys")
    _check_ipam(found, where)
    _check_bgp(found.bgp, f"{where}.bgp")


def _check_bird(bird: BirdConfiguration, where: str) -> None:
    if bool(bird.socket) != bool(bird.include):
        raise UserError(f"{where}: socket and include belong together", "name both, or neither for a BIRD of Clew's")
    for field, path in (("socket", bird.socket), ("include", bird.include)):
        if path and (not path.startswith("/") or '"' in path):
            raise UserError(f"{where}.{field}: {path!r} is not an absolute path in plain characters", "write it out")


def _check_ipam(found: NetworkConfiguration, where: str) -> None:
    kind = found.ipam.type
    if kind not in IPAM:
        raise UserError(f"{where}.ipam.type: {kind!r} is not known", f"use {' or '.join(IPAM)}")
    if kind == POOLS and found.links != "routed":
        raise UserError(
            f"{where}.links: {found.links} has no way to an address of another node's block",
            f"set {where}.links: routed, or {where}.ipam.type: podCIDR",
        )


def _share(some: list[str], others: list[str]) -> bool:
    """Whether a node is among both; no names are all nodes."""
    return not some or not others or bool({*some} & {*others})


def _check_bgp(bgp: BgpConfiguration, where: str) -> None:
    if not 1 <= bgp.asn <= _MOST_ASN:
        raise UserError(f"{where}.asn: {bgp.asn} is out of range", f"use 1 to {_MOST_ASN}; 64512 to 65534 are private")
    if not (bgp.mesh or bgp.route_reflectors or bgp.peers):
        raise UserError(f"{where}.mesh: false leaves nobody to tell routes to", "name routeReflectors or peers")
    for place, peer in enumerate(bgp.peers):
        field = f"{where}.peers[{place}]"
        try:
            router = address(peer.address)
        except ValueError:
            raise UserError(f"{field}.address: {peer.address!r} is no address", "name the router's own") from None
        if router.is_unspecified or router.is_multicast or router.is_loopback or router.is_link_local:
            raise UserError(f"{field}.address: {router} is no router's", "name the router's own")
        for at, other in enumerate(bgp.peers[:place]):
            if address(other.address) == router and _share(peer.nodes, other.nodes):
                said = f"{field}.address: {router} is that of peers[{at}], too"
                raise UserError(said, "keep one of them, or give them nodes apart from each other")
        if not 1 <= peer.asn <= _MOST_ASN:
            raise UserError(f"{field}.asn: {peer.asn} is out of range", f"use 1 to {_MOST_ASN}")
        if not _PASSWORD.fullmatch(peer.password):
            raise UserError(f"{field}.password: it holds what BIRD cannot read", "use printable ASCII but for quotes")
