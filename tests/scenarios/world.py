"""The plan made real: namespaces, veth pairs, bridges, and a prober that connects from any of them to anywhere.

Everything lives in network namespaces of the test's own; sockets are opened inside them, so one process is all the
servers and clients. Pods hang on a bridge (`cbr0`, hairpin ports), as the agent wires them.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

from clew.dataplane.ebpf import facility
from clew.kernel import netns
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import Add, Request, SetLink
from clew.kernel.netlink.values import Address, Bridge, Link, Peer, Route, Veth
from clew.kernel.sysctl import Sysctl

from . import plan, sctp
from .maker import Maker

LOOKS, LOOK = (
    7,
    0.05,
)  # so many turns of the loop without an answer, so many seconds apart, and a packet counts as dropped
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {
    "TCP": (socket.SOCK_STREAM, 0),
    "UDP": (socket.SOCK_DGRAM, 0),
    "SCTP": (socket.SOCK_RAW, sctp.IPPROTO_SCTP),
}
BITS = {4: 24, 6: 64}
DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


class World:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = ["fabric", *plan.NODES, *(f"pod-{name}" for name in plan.PODS), "outside"]
        self._makers: dict[str, Maker] = {}

    def path(self, name: str) -> Path:
        return self._folder / f"r7-{os.getpid()}-{name}"

    @contextlib.contextmanager
    def up(self) -> Iterator["World"]:
        with contextlib.ExitStack() as cleanup:  # each, whatever becomes of the others
            for name in self._names:
                netns.create(self.path(name))
                cleanup.callback(netns.delete, self.path(name))
                quick = {"net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0}
                Sysctl(self.path(name)).write(quick)  # addresses are usable at once
            self._wire()
            for node in plan.NODES if facility.cgroup_root() else ():
                self._makers[node] = Maker(facility.cgroup(self.path(node)))
                cleanup.callback(self._makers[node].close)
            yield self

    def where(self, place: plan.Place) -> Path:
        """The namespace of a node, a pod or the outside."""
        if place.name in plan.PODS:
            return self.path(f"pod-{place.name}")
        return self.path(place.name if place.node else "outside")

    def socket(self, place: plan.Place, family: int, kind: int, protocol: int) -> socket.socket:
        """As a program of this place would make it: on nodes and in their pods, in the node's control group."""
        maker = self._makers.get(place.node)
        if maker is None:
            return netns.socket_in(self.where(place), family, kind, protocol)
        return maker.socket(self.where(place), family, kind, protocol)

    def _wire(self) -> None:
        with Netlink(self.path("fabric")) as fabric:
            fabric.request([Add(Link("sw", Bridge(), up=True))])
            fabric.request([self._address(family, plan.ROUTER, "sw") for family in (4, 6)])
            for name, place in {**plan.NODES, "outside": plan.OUTSIDE["outside"]}.items():
                self._plug(fabric, name, name, "sw", hairpin=False)
                self._configure(self.path(name), place.addresses, plan.ROUTER)
        for number, (name, _) in enumerate(plan.NODES.items(), 1):
            self._node(name, number)
        with Netlink(self.path("outside")) as outside:
            more = plan.OUTSIDE["outside/2"]
            outside.request([self._address(family, more.addresses, "eth0") for family in (4, 6)])
            outside.request(
                [
                    Add(Route(prefix, via=plan.NODES[node].addresses[6 if ":" in prefix else 4]))
                    for prefix, node in plan.BALANCED.items()
                ]
            )

    def _node(self, name: str, number: int) -> None:
        forwarding = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}
        unlimited = {"net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0}  # refusals come for every packet
        Sysctl(self.path(name)).write(forwarding | unlimited)
        with Netlink(self.path(name)) as node:
            node.request([Add(Link("cbr0", Bridge(), up=True))])
            node.request([self._address(family, plan.GATEWAYS[number], "cbr0") for family in (4, 6)])
            for pod in plan.PODS.values():
                if pod.node == name:
                    self._plug(node, f"pod-{pod.name}", f"veth-{pod.name}", "cbr0", hairpin=True)
                    self._configure(self.path(f"pod-{pod.name}"), pod.addresses, plan.GATEWAYS[number])
            if name == "node-1":
                node.request([SetLink("lo", up=True)])
                node.request(
                    [
                        Add(Address(f"{plan.CARRIED[family]}/{8 * length}", "lo", nodad=family == 6))
                        for family, length in ((4, 4), (6, 16))
                    ]
                )
            other, peer = next((at, each) for at, each in enumerate(plan.NODES.values(), 1) if each.name != name)
            node.request(
                [
                    Add(Route(f"10.244.{other}.0/24", via=peer.addresses[4])),
                    Add(Route(f"fd00:10:244:{other}::/64", via=peer.addresses[6])),
                ]
            )

    def _plug(self, near: Netlink, far: str, name: str, bridge: str, *, hairpin: bool) -> None:
        descriptor = os.open(self.path(far), os.O_RDONLY)
        try:
            near.request([Add(Link(name, Veth(Peer("eth0", descriptor)), up=True, master=bridge))])
        finally:
            os.close(descriptor)
        if hairpin:
            near.request([SetLink(name, hairpin=True)])

    def _configure(self, path: Path, addresses: dict[int, str], gateway: dict[int, str]) -> None:
        with Netlink(path) as kernel:
            requests: list[Request] = [SetLink("lo", up=True), SetLink("eth0", up=True)]
            kernel.request([*requests, *(self._address(family, addresses, "eth0") for family in (4, 6))])
            kernel.request([Add(Route(DEFAULTS[family], via=gateway[family])) for family in (4, 6)])

    def _address(self, family: int, addresses: dict[int, str], dev: str) -> Add:
        return Add(Address(f"{addresses[family]}/{BITS[family]}", dev, nodad=family == 6))


class Answer:
    """Where a connection ended and as whom the client was seen; `end` is REFUSED or DROPPED where nobody answered."""

    def __init__(self, end: str, seen: str = "") -> None:
        self.end, self.seen = end, seen

    def __repr__(self) -> str:
        return f"{self.end} seen as {self.seen}"


def split(target: str) -> tuple[str, int]:
    address, _, port = target.rpartition(":")
    return address.strip("[]"), int(port)


def join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Prober:
    """Servers on all places and ports of a scenario that say where they are and whom they see; and their clients."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._servers: list[asyncio.Server] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._sctp: list[sctp.Server] = []

    async def serve(self, place: plan.Place, protocol: str, family: int, port: int) -> None:
        loop = asyncio.get_running_loop()
        listener = self._socket(place, family, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((place.addresses[family], 0 if protocol == "SCTP" else port))
        here = join(place.addresses[family], port)
        if protocol == "SCTP":
            self._sctp.append(sctp.Server(listener, family, port, here))
        elif protocol == "TCP":
            self._servers.append(await asyncio.start_server(_greeter(here), sock=listener))
        else:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Echo(here), sock=listener)
            self._transports.append(transport)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()
        for closing in (*self._transports, *self._sctp):
            closing.close()

    async def ask(self, source: plan.Place, protocol: str, target: str) -> Answer:
        address, port = split(target)
        family = 6 if ":" in address else 4
        with self._socket(source, family, protocol) as client:
            if not source.node:
                client.bind((source.addresses[family], 0))
            try:
                return await _patiently(_ask(client, (address, port), protocol))
            except TimeoutError:
                return Answer("DROPPED")
            except ConnectionRefusedError:
                return Answer("REFUSED")
            except PermissionError:  # so the sender itself is told that its own node drops what it sends
                return Answer("DROPPED")

    def _socket(self, place: plan.Place, family: int, protocol: str) -> socket.socket:
        opened = self._world.socket(place, FAMILIES[family], *KINDS[protocol])
        opened.setblocking(False)
        return opened


async def _patiently(asking: Coroutine[Any, Any, Answer]) -> Answer:
    """TimeoutError after LOOKS turns of the loop, in each of which servers and client took what had arrived.

    It was a third of a second by the clock: on a machine that did not let this process run for so long, packets that
    had been answered counted as dropped.
    """
    task = asyncio.ensure_future(asking)
    try:
        for _ in range(LOOKS):
            done, _ = await asyncio.wait({task}, timeout=LOOK)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _ask(client: socket.socket, target: tuple[str, int], protocol: str) -> Answer:
    if protocol == "SCTP":
        end, _, seen = (await sctp.ask(client, target)).partition(" ")
        return Answer(end, seen)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, target)
    if protocol == "UDP":
        await loop.sock_sendall(client, b"?")
    data = await loop.sock_recv(client, 200)
    end, _, seen = data.decode().partition(" ")
    return Answer(end, seen)


def _greeter(here: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{here} {writer.get_extra_info('peername')[0]}".encode())
        await writer.drain()
        writer.close()

    return greet


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, here: str) -> None:
        self._here = here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, _data: bytes, peer: tuple[str, int]) -> None:
        self._transport.sendto(f"{self._here} {peer[0]}".encode(), peer)
