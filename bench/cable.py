"""Two namespaces on one cable, each with a way to the other's pods as the agent makes it; and one stream over it.

Not a benchmark by itself: between_nodes and tunnels measure with it.
"""

import base64
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.figures import Figure, Say, Used, cpu, median
from clew.compile.ipam import Pool
from clew.compile.ipsec import Ring
from clew.compile.routes import PORTS, Between, routes, tunnels
from clew.dataplane.netlink import render
from clew.dataplane.netlink.objects import NodeRoute
from clew.dataplane.overlay.apply import OverlayPlane
from clew.dataplane.overlay.esp import EspEnds
from clew.dataplane.overlay.render import device, gateway, overlay
from clew.dataplane.overlay.secure import SecureEnds
from clew.facts.ipsec import Key, KeyRing, Standing
from clew.facts.node import Node
from clew.ir.routes import Encapsulation, PodRoute
from clew.kernel import netns
from clew.kernel.netlink import Add, Address, Link, Netlink, Peer, Plain, Route, SetLink, Veth, XfrmInterface
from clew.kernel.sysctl import Sysctl
from clew.kernel.wireguard import KernelWireGuard
from clew.kernel.xfrm import KernelXfrm
from clew.node.ipsec import Identity
from clew.store.table import Table

CHUNK = 1 << 20
LINK_MTU = 1500
KEY = Key(1, bytes(range(36)))  # AES-256
PRIVATE = {number: X25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2)}
EPOCHS = {1: "1" * 32, 2: "2" * 32}
ENDS = (1, 2)
TICK = 0.01  # seconds in /proc/stat

Way = Encapsulation | None  # None: a plain route


def nodes() -> list[Node]:
    """Two, with keys of everything."""
    return [
        Node(
            f"n{each}", (f"10.0.0.{each}",), pod_cidrs=(f"10.9.{each}.0/24",),
            wireguard_key=base64.b64encode(PRIVATE[each].public_key().public_bytes_raw()).decode(),
            ipsec=Standing(EPOCHS[each], (KEY.token,)),
        )
        for each in ENDS
    ]  # fmt: skip


def plane(kernel: Netlink, ns: Path, number: int = 1) -> OverlayPlane:
    """Everything that makes tunnels in a namespace; each identity lives beside it."""
    table: Table[KeyRing] = Table("keys")
    identity = Identity(ns.with_name(f"{ns.name}.ipsec"), "keys", table)
    table.replace({("kube-system", "keys"): KeyRing((KEY,))})
    assert identity.ring.keys
    private = base64.b64encode(PRIVATE[number].private_bytes_raw()).decode()
    secure = SecureEnds(KernelWireGuard(ns), lambda: private)
    return OverlayPlane(kernel, secure, EspEnds(KernelXfrm(ns), identity, time.monotonic))


def rendered(way: PodRoute) -> NodeRoute:
    if way.tunnel is None:
        return render.route(way)
    return render.route(way, device(way.tunnel, 4), gateway(way.tunnel, way.via))


class Cable:
    """`routed`: from an address of the node's pods to one of the other's; else the nodes' own, on the bare cable."""

    def __init__(self, root: Path, stack: ExitStack, way: Way, *, routed: bool = True) -> None:
        self._ends = [root / f"{way or 'plain'}{int(routed)}{number}" for number in ENDS]
        for end in self._ends:
            netns.create(end)
            stack.callback(netns.delete, end)
        with Netlink(self._ends[0]) as kernel, self._ends[1].open() as far:
            kernel.request([Add(Link("eth0", Veth(Peer("eth0", far.fileno())), up=True))])
        for number, end in zip(ENDS, self._ends, strict=True):
            with Netlink(end) as kernel:
                kernel.request([SetLink("eth0", up=True), SetLink("lo", up=True)])
                kernel.request([Add(Address(f"10.0.0.{number}/24", "eth0"))])
                if routed:
                    self._way(kernel, end, number, way)
        self._from, self._to = ("10.9.1.1", "10.9.2.1") if routed else ("10.0.0.1", "10.0.0.2")

    @staticmethod
    def _way(kernel: Netlink, ns: Path, number: int, way: Way) -> None:
        port = PORTS[way] if way else 0
        everyone = nodes()
        own = everyone[number - 1]
        ring = Ring(EPOCHS[number], keys=(KEY.token,))
        between = Between(way, port=port, key=own.wireguard_key, ring=ring)
        found, _ = routes(everyone, own.name, between)
        ends = tunnels(own, [Pool(own.pod_cidrs[0])], everyone, found.values(), between, LINK_MTU)
        made = plane(kernel, ns, number)
        made.read()
        made.want(overlay(ends))
        assert not made.make()
        kernel.request([Add(Address(f"10.9.{number}.1/32", "lo"))])
        mtu = between.room(LINK_MTU, (4,), own)
        for each in map(rendered, found.values()):
            kernel.request(
                [
                    Add(
                        Route(
                            each.destination, via=each.via, dev=each.dev, source=f"10.9.{number}.1", mtu=mtu,
                            onlink=bool(each.dev and each.via),
                        )
                    )
                ]
            )  # fmt: skip
        Sysctl(ns).write({"net.ipv4.ip_forward": 1})

    def stream(self, count: int, *, alone: bool = False) -> Used:
        """`count` bytes in one TCP stream. `alone`: nothing else runs, and the whole machine's work is this one's."""
        with (
            netns.socket_in(self._ends[1], socket.AF_INET, socket.SOCK_STREAM) as listener,
            netns.socket_in(self._ends[0], socket.AF_INET, socket.SOCK_STREAM) as sender,
        ):
            listener.bind((self._to, 0))
            listener.listen()
            reader = threading.Thread(target=_drain, args=(listener,))
            reader.start()
            sender.bind((self._from, 0))
            sender.connect(listener.getsockname())
            spent = busy if alone else cpu
            data, before, began = bytes(CHUNK), spent(), time.perf_counter()
            for _ in range(max(1, count // CHUNK)):
                sender.sendall(data)
            sender.shutdown(socket.SHUT_WR)
            reader.join()
            return Used(spent() - before, time.perf_counter() - began)


def busy() -> float:
    """Seconds that all processors have worked: what encrypts does so in threads of the kernel's own."""
    user, nice, system, _, _, hard, soft, *_ = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(map(int, (user, nice, system, hard, soft))) * TICK


def _drain(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    room = bytearray(CHUNK)
    with peer:
        while peer.recv_into(room):
            pass


def compared(name: str, way: Cable, plain: Cable, size: int, rounds: int, *, alone: bool = False) -> list[Figure]:
    """Throughput and CPU of each KiB, in turns with the bare cable."""
    both = [(way.stream(size, alone=alone), plain.stream(size, alone=alone)) for _ in range(rounds)]
    rate = [median(size / used.wall / (1 << 20) for used in side) for side in zip(*both, strict=True)]
    cost = [median(used.cpu / (size >> 10) * 1e6 for used in side) for side in zip(*both, strict=True)]
    against = "a plain veth pair"
    return [
        Figure(f"{name}: one stream", rate[0], "MiB/s", rate[1], against, more=True),
        Figure(f"{name}: CPU a KiB", cost[0], "µs", cost[1], against),
    ]


def missing(root: Path, ways: tuple[Encapsulation, ...], say: Say) -> list[str]:
    """What this kernel has no devices for."""
    found = []
    for way in ways:
        netns.create(root / "trial")
        try:
            with Netlink(root / "trial") as kernel:
                detail = XfrmInterface(1) if way == "ipsec" else Plain(way)
                (refusal,) = kernel.attempt([Add(Link("trial", detail))])
            if way != "vxlan" and refusal is not None and not refusal.exists:
                found.append(str(way))
                say(f"{way}: this kernel has none")
        finally:
            netns.delete(root / "trial")
    return found
