"""Where packets for other nodes' pods go, through which tunnel if any, and which addresses are the cluster's own."""

from typing import Literal

from clew.base.value import Value

Encapsulation = Literal["vxlan", "ipip"]


class PodRoute(Value):
    """The pods of `destination` are behind the node that answers at `via`: a neighbour, or the tunnel's other end."""

    destination: str
    via: str
    origin: str
    tunnel: Encapsulation | None = None  # None: as it is, over the network between the nodes
    source: str = ""  # of what this node itself sends through a tunnel: its own address, by which it is known


class Tunnel(Value):
    """The node's own end of the tunnels to other nodes, one a family of the outer addresses.

    Packets of `sources`, this node's pods, to the other ends themselves go through it as well: so a pod and a node
    of another subnet see each other as they are, though the network between them knows no pods.
    """

    encapsulation: Encapsulation
    local: str
    peers: tuple[str, ...]  # the other ends, sorted
    sources: tuple[str, ...]
    mtu: int  # what the link below leaves to an inner packet, bytes
    vni: int
    port: int
    origin: str


class Masquerade(Value):
    """What leaves `sources` for anywhere outside `inside` takes the node's own address."""

    sources: tuple[str, ...]  # this node's pods, prefixes of both families
    inside: tuple[str, ...]  # pods and nodes of the cluster, which always see each other as they are
    origin: str
