"""The kernel's network objects as values: what is asked for, and what a dump shows, in the same words.

Links are named by name, addresses and prefixes are text in their canonical form, MACs are lower case with colons.
A zero, an empty text or None means "the kernel's default" in a request and "not there" in a dump. Nothing here talks
to a kernel; the port is in channel.py, its stand-in in fake.py.
"""

from typing import Literal

from clew.base.value import Value

MAIN_TABLE = 254
PROTO_KERNEL = 2  # routes that the kernel made by itself
PROTO_BOOT = 3  # routes of `ip route add` without a word about it

RouteKind = Literal[
    "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw"
]


class Peer(Value):
    """The other end of a veth pair, for its creation only: a dump shows each end as a link of its own."""

    name: str
    ns: int | None = None  # a namespace's file descriptor; None: beside this end
    mac: str = ""
    mtu: int = 0


class Veth(Value):
    """One end of a pair. `peer` is asked for at creation."""

    peer: Peer | None = None


class Bridge(Value):
    """A switch. In a dump every field is filled."""

    ageing_seconds: int | None = None
    forward_delay_seconds: int | None = None
    stp: bool | None = None
    multicast_snooping: bool | None = None


class Vxlan(Value):
    """A VXLAN device, RFC 7348."""

    vni: int
    port: int = 4789
    local: str = ""
    device: str = ""  # the underlay's link
    learning: bool = True
    collect_metadata: bool = False
    ttl: int = 0


class XfrmInterface(Value):
    """A device whose packets need XFRM policies and states of its own number; what has none is dropped."""

    if_id: int


class Plain(Value):
    """Any other kind of link, by the kernel's name for it: `dummy`, `ipip`, `wireguard`; empty for a real device."""

    kind: str = ""


Detail = Veth | Bridge | Vxlan | XfrmInterface | Plain


class Link(Value):
    """A network device."""

    name: str
    detail: Detail = Plain()
    up: bool = False  # administratively
    mtu: int = 0
    mac: str = ""
    master: str = ""
    group: int = 0
    alias: str = ""
    altnames: tuple[str, ...] = ()
    index: int = 0
    lower: int = 0  # index of the device below or of a veth's peer (IFLA_LINK), perhaps in another namespace
    running: bool = False  # up, and its other end too
    hairpin: bool = False  # of a bridge's port


class Address(Value):
    """An address of a link, `10.0.0.1/24`."""

    address: str
    dev: str
    nodad: bool = False  # IPv6: usable at once, no duplicate detection (RFC 4862)
    noprefixroute: bool = False
    tentative: bool = False  # in a dump: duplicate detection still runs
    link_local: bool = False  # in a dump: the scope is link


class Nexthop(Value):
    """One way of a multipath route."""

    via: str = ""
    dev: str = ""
    weight: int = 1
    onlink: bool = False


class Route(Value):
    """A route. `via` and `dev`, or `hops`, or neither for kinds that drop. The default route is `0.0.0.0/0`.

    A delete finds the first route with what is said: table, destination, kind, proto (0: anybody's), and metric, `via`
    and `dev` where given. So one that names our proto never takes somebody else's route.
    """

    destination: str
    via: str = ""
    dev: str = ""
    hops: tuple[Nexthop, ...] = ()
    kind: RouteKind = "unicast"
    table: int = MAIN_TABLE
    proto: int = PROTO_BOOT
    metric: int = 0  # 0: the kernel's own (IPv6 1024)
    source: str = ""  # preferred source address
    mtu: int = 0
    onlink: bool = False  # the gateway is on `dev` though no route says so

    @property
    def key(self) -> tuple[int, str, int]:
        """What the kernel tells routes apart by, as far as Clew goes: table, destination, metric."""
        return self.table, self.destination, self.metric


class Neighbour(Value):
    """An entry of the ARP or NDP table; `proxy` answers for the address and has no MAC."""

    address: str
    dev: str
    mac: str = ""
    permanent: bool = True
    proxy: bool = False


class Fdb(Value):
    """An entry of a bridge's or a VXLAN device's forwarding table: which way to a MAC."""

    mac: str
    dev: str
    remote: str = ""  # VXLAN: the other node's address
    permanent: bool = True
    of_master: bool = False  # the bridge's table rather than the device's own


class Rule(Value):
    """A policy routing rule."""

    priority: int
    family: Literal[4, 6] = 4
    source: str = ""
    destination: str = ""
    iif: str = ""
    oif: str = ""
    mark: int = 0
    mask: int = 0
    table: int = MAIN_TABLE
    proto: int = 0


class TokenBucket(Value):
    """What the discipline `tbf` lets through. `burst` counts at creation; a dump has 0, for the kernel keeps a time."""

    rate: int  # bytes a second
    limit: int  # bytes that may wait, those of the burst among them
    burst: int = 0  # bytes at once


class Qdisc(Value):
    """A queueing discipline of a link, told apart by its parent. `clsact` holds filters and queues nothing."""

    dev: str
    kind: str
    handle: int = 0
    parent: int = 0
    bucket: TokenBucket | None = None  # of tbf


ROOT = 0xFFFFFFFF  # the parent of the discipline that all packets leave by


def tbf(dev: str, bucket: TokenBucket, handle: int = 0x10000) -> Qdisc:
    """The link's packets leave no faster than the bucket allows."""
    return Qdisc(dev, "tbf", handle, ROOT, bucket)


def clsact(dev: str) -> Qdisc:
    """The discipline that filters hang on, as a dump shows it."""
    return Qdisc(dev, "clsact", handle=0xFFFF0000, parent=0xFFFFFFF1)


Direction = Literal["ingress", "egress"]


class Filter(Value):
    """A BPF program at a link's clsact discipline, called in the order of `priority`.

    `program` is its descriptor, for the creation only; a dump has the program's id and tag (sha1, 16 hex digits).
    """

    dev: str
    direction: Direction
    priority: int
    handle: int = 1
    name: str = ""
    program: int = 0
    program_id: int = 0
    tag: str = ""


class Redirect(Value):
    """All that comes in by `dev` goes out by `to` in place of going on; from an `ifb` it comes back and goes on then.

    One a priority, at the link's clsact discipline; after every filter of a smaller number.
    """

    dev: str
    to: str
    priority: int


Thing = Link | Address | Route | Neighbour | Fdb | Rule | Qdisc | Filter | Redirect
