"""What this backend puts into a node's kernel, in the kernel's words; and the marks by which it knows its own again."""

from clew.base.value import Value

ROUTE_PROTO = 147  # every route of ours; `ip route show proto 147`
BIRD_PROTO = 12  # RTPROT_BIRD: what it has learnt from other routers
BEHIND = 2048  # metric of a route that gives way to BIRD's, which have 32; without one it is 0, and 1024 in IPv6
LINK_GROUP = 147  # every pod's host-side link; `ip link show group 147`
LEAVING_GROUP = 148  # the same on their way out: the kernel removes a group at once, links one by one take 16 ms each
BRIDGE = "cbr0"
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"  # of the host's end of every routed pod: its link-local address is the gateway
MIN_MTU = {4: 68, 6: 1280}  # RFC 791, RFC 8200


class BridgeLink(Value):
    """The node's bridge with the pods' gateways on it."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]  # "10.244.1.1/24"


class PortLink(Value):
    """The host's end of a pod's veth pair, as it can be read back from the node's namespace.

    `alias` names the attachment. It is written last, when the pod's end is complete: a link of ours without it is
    what a crash left half made.
    """

    name: str
    alias: str  # "CONTAINER/IFNAME"
    master: str
    mtu: int
    mac: str
    addresses: tuple[str, ...] = ()  # of a routed pod, "10.244.1.5/32": the node has a route and a neighbour for each
    pod_mac: str = ""  # of that neighbour
    up: bool = True


class PodEnd(Value):
    """The other end, made with the pair and not looked at again: the pod's namespace is the runtime's."""

    ifname: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]  # default routes, one a family
    gateway_mac: str = ""  # where the pod is to know it without asking: routed


class Port(Value):
    """Both ends and where they come from."""

    link: PortLink
    pod: PodEnd
    origin: str


class NodeRoute(Value):
    """To another node's pods. Where the way is a tunnel, `dev` and `source` are said, and `via` if it must be told."""

    destination: str
    via: str
    dev: str = ""
    source: str = ""
    mtu: int = 0  # of packets to there where it is less than the link's
    nobody: bool = False  # the node's own range, where no pod has the address: refused at once, not led elsewhere
    behind: bool = False  # it serves where no routing protocol leads there

    @property
    def key(self) -> str:
        """What there is one of: a route of a protocol's may have one of ours before it and one behind it."""
        return f"{self.destination} behind BIRD's" if self.behind else self.destination


class Setting(Value):
    """A sysctl. `needed` where this network cannot work without it, else it is set where the kernel has it."""

    name: str
    value: str
    needed: bool
