"""Ways between nodes: what entering many nodes costs, and what a packet costs in each, against a plain veth pair.

Entering: routes of 1,000 nodes, and of 250 nodes with VXLAN's neighbours and forwarding entries, into an empty kernel.
Carrying: one TCP stream between two namespaces, plain and through VXLAN, as seconds for the same bytes. Backends that
this kernel does not have are not measured, and it is said which.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, Say, measured, median, scaled
from clew.compile.ipam import Pool
from clew.compile.routes import PORTS, Between, routes, tunnels
from clew.dataplane.netlink import render
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.overlay.apply import OverlayPlane
from clew.dataplane.overlay.esp import EspEnds
from clew.dataplane.overlay.render import device, gateway, overlay
from clew.dataplane.overlay.secure import SecureEnds
from clew.facts.node import Node
from clew.ir.routes import Encapsulation, PodRoute
from clew.kernel import netns
from clew.kernel.inside import enter
from clew.kernel.netlink import Add, Address, Link, Netlink, Peer, Plain, Route, SetLink, Veth
from clew.kernel.sysctl import Sysctl
from clew.kernel.wireguard import KernelWireGuard
from clew.kernel.xfrm import KernelXfrm
from clew.node.ipsec import Identity
from clew.store.table import Table

OWN = Node("own", ("10.0.0.1",), pod_cidrs=("10.128.0.0/24",))
POOLS = (Pool("10.128.0.0/24"),)
BYTES, STREAMS, CHUNK = 400 << 20, 5, 1 << 20
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
        plane = NetlinkPlane(kernel, Sysctl(ns), enter)
        ends = tunnels_of(second, ns)

        def work() -> None:
            found, _ = routes([OWN, *nodes], "own", between)
            ends.read()
            plane.read()
            ends.want(overlay(tunnels(OWN, POOLS, nodes, found.values(), between, 1500)))
            plane.want_routes([rendered(way) for way in found.values()])
            assert not ends.make()
            assert not plane.sync().failures

        used = measured(work)
        assert len(kernel.routes(proto=147, table=254)) == len(nodes)
        plane.want_routes([])
        plane.sync()
        ends.want(overlay([]))
        ends.make()
        ends.sweep()
    return used.wall * 1e3


def tunnels_of(kernel: Netlink, ns: Path) -> OverlayPlane:
    identity = Identity(ns.with_name(f"{ns.name}.ipsec"), "keys", Table("keys"))
    return OverlayPlane(kernel, SecureEnds(KernelWireGuard(ns), str), EspEnds(KernelXfrm(ns), identity, time.monotonic))


def rendered(way: PodRoute) -> object:
    if way.tunnel is None:
        return render.route(way)
    return render.route(way, device(way.tunnel, 4), gateway(way.tunnel, way.via))


class Pair:
    """Two namespaces on one cable, with an address each on the cable and one on the tunnel over it."""

    def __init__(self, root: Path, stack: ExitStack, kind: Encapsulation | None) -> None:
        self.ends = [root / f"{kind or 'plain'}{number}" for number in (1, 2)]
        for end in self.ends:
            netns.create(end)
            stack.callback(netns.delete, end)
        with Netlink(self.ends[0]) as kernel, self.ends[1].open() as far:
            kernel.request([Add(Link("eth0", Veth(Peer("eth0", far.fileno())), up=True))])
        for number, end in enumerate(self.ends, 1):
            with Netlink(end) as kernel:
                kernel.request([SetLink("eth0", up=True), Add(Address(f"10.0.0.{number}/24", "eth0"))])
            if kind is not None:
                self._tunnel(end, number, Between(kind, port=PORTS[kind]))
        self.address = "10.9.0.2" if kind else "10.0.0.2"

    @staticmethod
    def _tunnel(ns: Path, number: int, between: Between) -> None:
        nodes = [Node(f"n{each}", (f"10.0.0.{each}",), pod_cidrs=(f"10.9.{each}.0/24",)) for each in (1, 2)]
        own = nodes[number - 1]
        with Netlink(ns) as kernel:
            plane = tunnels_of(kernel, ns)
            found, _ = routes(nodes, own.name, between)
            plane.want(overlay(tunnels(own, [Pool(own.pod_cidrs[0])], nodes, found.values(), between, 1500)))
            assert not plane.make()
            name = device(between.encapsulation or "vxlan", 4)
            kernel.request([Add(Address(f"10.9.0.{number}/32", name))])
            far = 3 - number
            via = gateway(between.encapsulation or "vxlan", f"10.0.0.{far}")
            kernel.request([Add(Route(f"10.9.0.{far}/32", via=via, dev=name, source=f"10.9.0.{number}", onlink=True))])

    def seconds(self, count: int) -> float:
        """For `count` bytes in one stream."""
        with (
            netns.socket_in(self.ends[1], socket.AF_INET, socket.SOCK_STREAM) as listener,
            netns.socket_in(self.ends[0], socket.AF_INET, socket.SOCK_STREAM) as sender,
        ):
            listener.bind((self.address, 0))
            listener.listen()
            reader = threading.Thread(target=_drain, args=(listener,))
            reader.start()
            sender.connect(listener.getsockname())
            data, began = bytes(CHUNK), time.perf_counter()
            for _ in range(max(1, count // CHUNK)):
                sender.sendall(data)
            sender.shutdown(socket.SHUT_WR)
            reader.join()
            return time.perf_counter() - began


def _drain(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    room = bytearray(CHUNK)
    with peer:
        while peer.recv_into(room):
            pass


def available(root: Path, kind: Encapsulation) -> bool:
    if kind == "vxlan":
        return True
    netns.create(root / "trial")
    try:
        with Netlink(root / "trial") as kernel:
            (refusal,) = kernel.attempt([Add(Link("trial", Plain(kind)))])
        return refusal is None or refusal.exists
    finally:
        netns.delete(root / "trial")


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
        plain = Pair(root, stack, None)
        kinds: tuple[Encapsulation, ...] = ("vxlan", "ipip")
        for kind in kinds:
            if not available(root, kind):
                say(f"{kind}: this kernel has none; not measured")
                continue
            say(f"{kind}: {size >> 20} MiB, {STREAMS} times")
            pair = Pair(root, stack, kind)
            both = [(pair.seconds(size), plain.seconds(size)) for _ in range(STREAMS)]
            rate = [median(size / seconds / (1 << 20) for seconds in side) for side in zip(*both, strict=True)]
            yield Figure(f"one stream through {kind}", rate[0], "MiB/s", rate[1], "a plain veth pair", more=True)
