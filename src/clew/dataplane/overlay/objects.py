"""What the tunnels between nodes are in a node's kernel, in the kernel's words; and the marks that tell ours."""

from typing import Literal

from clew.base.value import Value

TABLE = 147  # the routing table of what pods send to other nodes themselves
PRIORITY = 30147  # of the rules that lead there: before the main table's 32766
PROTO = 147  # of those routes and rules; `ip rule show`, `ip route show table 147`
SHUT_PROTO = 148  # of routes in the main table that refuse; `ip route show proto 148`
SHUT_METRIC = 1 << 31  # any other way goes before
VXLAN = {4: "vxlan.clew", 6: "vxlan6.clew"}
IPIP = "tunl0"  # the kernel's own device of this name carries whatever the routing table sends through it
WIREGUARD = "wg.clew"
IPSEC = "ipsec.clew"
DEVICES = frozenset({*VXLAN.values(), IPIP, WIREGUARD, IPSEC})
IF_ID = REQID = 147  # of the states and policies behind the last; `ip xfrm state`, `ip xfrm policy`
CLEAR_PRIORITY = 14700147  # of the policies that drop what should have been encrypted: they belong to no device


class TunnelLink(Value):
    """The node's own end. `addresses` are the node's, so that what the node itself sends through it is known as its."""

    name: str
    kind: Literal["vxlan", "ipip", "wireguard", "ipsec"]
    local: str  # vxlan: the outer source
    addresses: tuple[str, ...]  # "172.30.0.11/32"
    mtu: int
    mac: str = ""  # vxlan
    vni: int = 0
    port: int = 0
    key: str = ""  # wireguard: the public one
    if_id: int = 0  # ipsec


class TunnelPeer(Value):
    """vxlan: the inner MAC of another node's end and the node that has it, so that nothing is flooded or asked for."""

    dev: str
    gateway: str  # the address by which routes name it
    mac: str
    remote: str  # the node's own address, to which the outer packets go


class SecurePeer(Value):
    """wireguard: another node's end, and whose packets it may carry."""

    dev: str
    key: str
    endpoint: str  # "172.30.0.12:51820"
    allowed: tuple[str, ...]  # sorted


class EspState(Value):
    """ipsec: one direction to or from another node, and what its key is derived from and for."""

    source: str
    target: str
    spi: int
    token: str
    purpose: str


class EspPeer(Value):
    """ipsec: another node's end. Packets go out under the first of `outbound` that the kernel has, the last is made."""

    dev: str
    remote: str  # the node's own address, to which the outer packets go
    allowed: tuple[str, ...]  # what is for these goes to it; sorted
    pods: tuple[str, ...]  # what is from these is taken from it alone, encrypted
    outbound: tuple[EspState, ...] = ()
    inbound: tuple[EspState, ...] = ()
    stays: bool = False  # other states of it, too


class PeerRoute(Value):
    """In TABLE: what pods send to another node itself goes through the tunnel."""

    destination: str  # "172.30.0.12/32"
    via: str  # "": the tunnel knows by itself
    dev: str
    mtu: int = 0  # 0: the link's


class Shut(Value):
    """Where the device of an encrypted tunnel is gone: what was for it is refused, not led out by the default route."""

    destination: str  # another node's pods


class FromPods(Value):
    """The rule that leads packets of this node's pods by TABLE first."""

    source: str  # "10.244.1.0/24"


class Overlay(Value):
    """All of a node's."""

    links: tuple[TunnelLink, ...] = ()
    peers: tuple[TunnelPeer, ...] = ()
    secure: tuple[SecurePeer, ...] = ()
    esp: tuple[EspPeer, ...] = ()
    routes: tuple[PeerRoute, ...] = ()
    rules: tuple[FromPods, ...] = ()
    shut: tuple[Shut, ...] = ()
