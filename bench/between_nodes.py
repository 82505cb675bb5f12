"""Ways between nodes: what entering many nodes costs, and what a packet costs in each, against a plain veth pair.

Entering: routes of 1,000 nodes, and of 250 nodes with VXLAN's neighbours and forwarding entries, into an empty kernel.
Carrying: one TCP stream between two namespaces by a plain route (bgp and ospf lead packets so, too) and through VXLAN.
Backends that other kernels have are in `tunnels`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cable import CHUNK, Cable, Way, compared, plane, rendered
from bench.figures import Figure, Say, measured, median, scaled
from clew.compile.ipam import Pool
from clew.compile.routes import PORTS, Between, routes, tunnels
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.overlay.render import overlay
from clew.facts.node import Node
from clew.kernel import netns
from clew.kernel.inside import enter
from clew.kernel.netlink import Add, Address, Link, Netlink, Peer, SetLink, Veth
from clew.kernel.sysctl import Sysctl

OWN = Node("own", ("10.0.0.1",), pod_cidrs=("10.128.0.0/24",))
POOLS = (Pool("10.128.0.0/24"),)
BYTES, STREAMS = 400 << 20, 5
GOAL = 0.5


def others(count: int) -> list[Node]:
    return [
        Node(
            f"n{number}",
            (f"10.0.{number // 250}.{2 + number % 250}",),
            pod_cidrs=(f"10.{129 + number // 256}.{number % 256}.0/24",),
        )
        for number in range(count)
    ]


def space(root: Path, name: str, stack: ExitStack) -> Path:
    """A namespace with a link that reaches every node."""
    netns.create(root / name)
    stack.callback(netns.delete, root / name)
    with Netlink(root / name) as kernel:
        kernel.request([Add(Link("eth0", Veth(Peer("far")), up=True)), SetLink("far", up=True)])
        kernel.request([Add(Address("10.0.0.1/16", "eth0"))])
    return root / name


def entered(ns: Path, nodes: list[Node], between: Between) -> float:
    """Milliseconds from facts to kernel, compile included; an empty kernel before and after."""
    with Netlink(ns) as kernel, Netlink(ns) as second:
        links, ends = NetlinkPlane(kernel, Sysctl(ns), enter), plane(second, ns)

        def work() -> None:
            found, _ = routes([OWN, *nodes], "own", between)
            ends.read()
            links.read()
            ends.want(overlay(tunnels(OWN, POOLS, nodes, found.values(), between, 1500)))
            links.want_routes([rendered(way) for way in found.values()])
            assert not ends.make()
            assert not links.sync().failures

        used = measured(work)
        assert len(kernel.routes(proto=147, table=254)) == len(nodes)
        links.want_routes([])
        links.sync()
        ends.want(overlay([]))
        ends.make()
        ends.sweep()
    return used.wall * 1e3


def figures(scale: float, say: Say) -> Iterator[Figure]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        ns = space(root, "node", stack)
        for count, between in ((1000, Between()), (250, Between("vxlan", port=PORTS["vxlan"]))):
            nodes = others(scaled(count, scale, 10))
            what = f"{len(nodes)} nodes entered, {between.encapsulation or 'host-gw'}"
            say(what)
            found = median(entered(ns, nodes, between) for _ in range(3))
            yield Figure(what, found / 1e3, "s", goal=GOAL)
        size = scaled(BYTES, scale, CHUNK)
        plain = Cable(root, stack, None, routed=False)
        ways: tuple[Way, ...] = (None, "vxlan")
        for way in ways:
            name = way or "host-gw"
            say(f"{name}: {size >> 20} MiB, {STREAMS} times")
            yield from compared(name, Cable(root, stack, way), plain, size, STREAMS)
