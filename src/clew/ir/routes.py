"""Where packets for other nodes' pods go, through which tunnel if any, and which addresses are the cluster's own."""

from typing import Literal

from clew.base.value import Value

Encapsulation = Literal["vxlan", "ipip", "wireguard", "ipsec"]


class PodRoute(Value):
    """The pods of `destination` are behind the node that answers at `via`: a neighbour, or the tunnel's other end."""

    destination: str
    via: str
    origin: str
    tunnel: Encapsulation | None = None  # None: as it is, over the network between the nodes
    source: str = ""  # of what this node itself sends through a tunnel: its own address, by which it is known
    mtu: int = 0  # bytes that the way takes where it takes less than the link says; 0: the link knows


class Association(Value):
    """ipsec: the packets of one direction between two nodes, under a key that nothing else is under."""

    source: str  # outer addresses
    target: str
    spi: int
    token: str  # the key that theirs is derived from
    purpose: str  # what it is derived for: different words, another key


class TunnelEnd(Value):
    """Another node's end. Outer packets go to the first of its own addresses.

    ipsec: to `remote`, under the first of `outbound` that is in the kernel; the last of them may be made. Where there
    is none, packets go on as they went, for the other end may not know the new key yet.
    """

    addresses: tuple[str, ...]
    key: str = ""  # wireguard: its public key
    pods: tuple[str, ...] = ()  # wireguard, ipsec: the prefixes that it speaks for, beside its own addresses
    remote: str = ""  # ipsec: where outer packets go
    outbound: tuple[Association, ...] = ()
    inbound: tuple[Association, ...] = ()
    stays: bool = False  # it may send under a key that is not known here: what the kernel has of it stays
    mtu: int = 0  # as in PodRoute


class Tunnel(Value):
    """The node's own end of the tunnels to other nodes; of vxlan and ipip one a family of the outer addresses.

    Packets of `sources`, this node's pods, to the other ends themselves go through it as well: so a pod and a node
    of another subnet see each other as they are, though the network between them knows no pods.
    """

    encapsulation: Encapsulation
    addresses: tuple[str, ...]  # this node's own, by which it is known inside; outer packets come from the first
    peers: tuple[TunnelEnd, ...]
    sources: tuple[str, ...]
    mtu: int  # what the link below leaves to an inner packet, bytes
    vni: int
    port: int
    origin: str
    key: str = ""  # wireguard: this node's public key


class Masquerade(Value):
    """What leaves `sources` for anywhere outside `inside` takes the node's own address."""

    sources: tuple[str, ...]  # this node's pods that hide, prefixes of both families; none: nothing is translated
    inside: tuple[str, ...]  # who always sees pods as they are: pods and nodes of the cluster, networks that know them
    origin: str
