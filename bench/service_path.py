"""What a service costs a connection: real packets between namespaces, in each mode that this kernel has.

A client pod, a node that routes and has the mode's rules, and a pod that serves. The client connects by a cluster
address and by the pod's own; CPU (user and system of client, server and kernel, which is one process here) is per new
connection and per KiB of one long connection. Asked is the service in the middle of all, with 10 and with 10,000. The
mode that many kernels lack has a benchmark of its own (ipvs_path).
"""

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, Say, measured, median, scaled
from bench.service_load import ENDPOINTS, Ours, pod, vip
from clew.dataplane.ebpf import facility as ebpf
from clew.kernel import netns
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import Add, SetLink
from clew.kernel.netlink.values import Address, Link, Peer, Route, Veth
from clew.kernel.sysctl import Sysctl
from clew.node import proxy_modes

NODE = "10.200.0.1"
DIRECTLY, BY_SERVICE = "10.200.0.2", "10.200.0.3"  # the client's addresses: no connection is in another's way
IP_BIND_ADDRESS_NO_PORT = 24  # include/uapi/linux/in.h
CHUNK = b"x" * 65536
ROUNDS = 7
AGAINST = "the pod's own address"
Target = tuple[str, int]


class Place:
    """Three namespaces in a row."""

    def __init__(self, folder: Path) -> None:
        self.client, self.node, self.server = (folder / name for name in ("client", "node", "server"))

    def up(self, stack: ExitStack, pods: list[str]) -> None:
        for path in (self.client, self.node, self.server):
            netns.create(path)
            stack.callback(netns.delete, path)
        Sysctl(self.node).write({"net.ipv4.ip_forward": 1})
        with Netlink(self.node) as node:
            for path, name in ((self.client, "client"), (self.server, "server")):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    node.request([Add(Link(name, Veth(Peer("eth0", descriptor)), up=True))])
                finally:
                    os.close(descriptor)
            node.request([Add(Address(f"{NODE}/24", "client")), Add(Address("169.254.1.1/32", "server"))])
            node.request([Add(Route(f"{each}/32", dev="server")) for each in pods])
        _end(self.client, [f"{DIRECTLY}/24", f"{BY_SERVICE}/24"], Route("0.0.0.0/0", via=NODE))
        _end(self.server, [f"{each}/32" for each in pods], Route("0.0.0.0/0", dev="eth0"))
        Sysctl(self.node).write({"net.ipv4.conf.server.proxy_arp": 1})


def _end(path: Path, addresses: list[str], route: Route) -> None:
    with Netlink(path) as kernel:
        kernel.request([SetLink("lo", up=True), SetLink("eth0", up=True)])
        kernel.request([Add(Address(each, "eth0")) for each in addresses])
        kernel.request([Add(route)])


def serve(place: Place, stack: ExitStack) -> None:
    """Answer on every address at port 8080: greet, read until the end, close."""
    listener = netns.socket_in(place.server, socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("", 8080))
    listener.listen(4096)

    def accept() -> None:
        room = bytearray(len(CHUNK))
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                try:
                    peer.sendall(b"!")
                    while peer.recv_into(room):
                        pass
                except ConnectionResetError:
                    continue

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()

    def stop() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()

    stack.callback(stop)


def connected(source: str, target: Target) -> socket.socket:
    """A connection that was greeted."""
    client = socket.socket()
    client.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((source, 0))
    client.connect(target)
    client.recv(1)
    return client


def connections(source: str, target: Target, count: int) -> None:
    for _ in range(count):
        with connected(source, target) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT


def stream(source: str, target: Target, chunks: int) -> None:
    with connected(source, target) as client:
        for _ in range(chunks):
            client.sendall(CHUNK)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)


def each(place: Place, one: Callable[[], None], two: Callable[[], None]) -> tuple[float, float]:
    """Median CPU of both, by turns, in the client's network."""

    def by_turns() -> tuple[float, float]:
        rows = [(measured(one).cpu, measured(two).cpu) for _ in range(ROUNDS)]
        return median(row[0] for row in rows), median(row[1] for row in rows)

    return netns.run_in(place.client, by_turns)


def figures(scale: float, say: Say) -> Iterator[Figure]:
    """With 10 services and with 10,000."""
    for mode in proxy_modes.MODES:
        if proxy_modes.MODES[mode].missing(None):
            say(f"{mode}: not on this kernel")
            continue
        yield from costs(mode, scale, say)


def costs(mode: str, scale: float, say: Say) -> Iterator[Figure]:
    """Of one mode."""
    for count in (10, scaled(10_000, scale, 20)):
        say(f"{mode}: {count:,} services")
        yield from _with(mode, count, scale)


def _with(mode: str, count: int, scale: float) -> Iterator[Figure]:
    number = count // 2
    pods = [pod(number, index) for index in range(ENDPOINTS)]
    many, chunks = scaled(400, scale, 10), scaled(400, scale, 4)
    with ExitStack() as stack:
        place = Place(Path(stack.enter_context(TemporaryDirectory())))
        place.up(stack, pods)
        serve(place, stack)
        proxy = Ours(place.node, mode)
        stack.callback(proxy.close)
        proxy.load(count)
        stack.callback(_serving(proxy))
        direct, service = (DIRECTLY, (pods[0], 8080)), (BY_SERVICE, (vip(number), 80))
        for way, entered in _ways(mode, place.node):
            at = f"{mode}{way}, {count:,} services"
            with entered:
                plain, by_service = each(place, lambda: connections(*direct, many), lambda: connections(*service, many))
                yield Figure(f"{at}: a new connection", by_service / many * 1e6, "µs", plain / many * 1e6, AGAINST)
                plain, by_service = each(place, lambda: stream(*direct, chunks), lambda: stream(*service, chunks))
                size = chunks * len(CHUNK) / 1024
                yield Figure(f"{at}: a KiB of a connection", by_service / size * 1e9, "ns", plain / size * 1e9, AGAINST)


def _ways(mode: str, node: Path) -> list[tuple[str, AbstractContextManager[object]]]:
    """How a client comes to a service: in mode ebpf by its packets, or where its node asks sockets, by them."""
    if mode != "ebpf":
        return [("", nullcontext())]
    return [(" by packets", nullcontext()), (" by sockets", _joined(ebpf.cgroup(node)))]


@contextmanager
def _joined(group: Path) -> Iterator[None]:
    """Sockets that this process makes meanwhile belong to a control group."""
    root = ebpf.cgroup_root()
    assert root is not None
    home = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))[3:]
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (root / home.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))


def _serving(proxy: Ours) -> Callable[[], None]:
    """What the mode needs beside its rules, in a thread; returns how to end it."""
    task = proxy.loop.create_task(proxy.proxy.serve())

    async def wait() -> None:
        await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=lambda: proxy.loop.run_until_complete(wait()))
    thread.start()

    def stop() -> None:
        proxy.loop.call_soon_threadsafe(task.cancel)
        thread.join()

    return stop
