"""Where packets for other nodes' pods go, and which addresses are the cluster's own."""

from clew.base.value import Value


class PodRoute(Value):
    """The pods of `destination` are behind the node that answers at `via`, which is a neighbour."""

    destination: str
    via: str
    origin: str


class Masquerade(Value):
    """What leaves `sources` for anywhere outside `inside` takes the node's own address."""

    sources: tuple[str, ...]  # this node's pods, prefixes of both families
    inside: tuple[str, ...]  # pods and nodes of the cluster, which always see each other as they are
    origin: str
