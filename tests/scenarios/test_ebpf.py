"""What only the eBPF mode does, with real sockets and packets: answers at sockets, and the node's door for the rest."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from clew.base.clock import SystemClock
from clew.dataplane.ebpf import facility, layout
from clew.facts import endpointslice, service
from clew.facts.node import Node
from clew.kernel import bpf, netns
from clew.kernel.bpf import attach, syscall
from clew.kernel.bpf.programs import KINDS
from clew.kernel.conntrack import KernelConntrack
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Delete, Netlink
from clew.kernel.netlink.values import Address, Link, Peer, Veth
from clew.node import proxy_modes
from clew.node.proxy import ProxyPorts, ProxySettings, ProxyTables, ServiceProxy
from clew.reconcile import Turn
from clew.store import Table

from . import plan
from .left import snapshot
from .test_packets import world as world  # noqa: PLC0414 - a fixture
from .world import Prober, World, join

pytestmark = pytest.mark.root
VIP, VIP6 = "10.96.0.10", "fd00:10:96::10"
A, B, C = (plan.PODS[name] for name in "abc")
SOON = 20.0  # seconds; on an idle machine it takes thousandths
REFUSED = (ConnectionRefusedError, PermissionError)  # the node's own programs hear of it by its own filter
SILENCE = 1.0  # seconds without an answer that show that none comes


class Node1:
    """The proxy of node-1 alone, with one service of both families."""

    def __init__(self, world: World) -> None:
        self.path = world.path("node-1")
        self.conntrack = KernelConntrack(self.path)
        self.tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"))
        self.tables.nodes.replace({("", "node-1"): Node("node-1", tuple(plan.NODES["node-1"].addresses.values()))})
        self.tables.services.replace({})
        self.tables.slices.replace({})
        ports = ProxyPorts(partial(proxy_modes.mode("ebpf").open, self.path), self.conntrack)
        settings = ProxySettings("node-1", pod_cidrs=plan.POD_CIDRS)
        self.proxy = ServiceProxy(self.tables, settings, ports, SystemClock())

    async def serve(
        self, *pods: plan.Place, protocol: str = "UDP", node_port: int = 30080, affinity: str = "None"
    ) -> None:
        fact = service.from_api(
            {
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {
                    "type": "NodePort", "sessionAffinity": affinity, "clusterIP": VIP, "clusterIPs": [VIP, VIP6],
                    "ports": [{"port": 80, "protocol": protocol, "nodePort": node_port}],
                },
            }
        )  # fmt: skip
        self.tables.services.put(fact.key, fact)
        for family in (4, 6):
            piece = endpointslice.from_api(
                {
                    "metadata": {
                        "name": f"web-{family}", "namespace": "default",
                        "labels": {"kubernetes.io/service-name": "web"},
                    },
                    "addressType": f"IPv{family}",
                    "ports": [{"name": "", "port": 8080, "protocol": protocol}],
                    "endpoints": [{"addresses": [pod.addresses[family]], "nodeName": pod.node} for pod in pods],
                }
            )  # fmt: skip
            self.tables.slices.put(piece.key, piece)
        await self.proxy.sync()

    async def vanish(self) -> None:
        """The service is deleted, with its slices."""
        self.tables.services.put(("default", "web"), None)
        for key in [key for key, _ in self.tables.slices.items()]:
            self.tables.slices.put(key, None)
        await self.proxy.sync()

    def close(self) -> None:
        self.proxy.remove()
        self.proxy.close()
        self.conntrack.close()


@pytest.fixture
async def node(world: World) -> AsyncIterator[Node1]:
    node = Node1(world)
    companion = asyncio.ensure_future(node.proxy.serve())
    try:
        yield node
    finally:
        companion.cancel()
        await asyncio.gather(companion, return_exceptions=True)
        node.close()


@pytest.fixture
async def prober(world: World) -> AsyncIterator[Prober]:
    prober = Prober(world)
    for pod in (A, C):
        for family in (4, 6):
            for protocol in ("UDP", "TCP"):
                await prober.serve(pod, protocol, family, 8080)
    yield prober
    await prober.close()


@contextlib.contextmanager
def opened(world: World, place: plan.Place, family: int, kind: int) -> Iterator[socket.socket]:
    with world.socket(place, family, kind, 0) as made:
        made.setblocking(False)
        yield made


async def exchange(client: socket.socket, target: tuple[str, int]) -> tuple[str, str]:
    """Who answers a datagram, and from which address the answer seems to come."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SOON):
        await loop.sock_sendto(client, b"?", target)
        data, source = await loop.sock_recvfrom(client, 100)
    return data.decode().partition(" ")[0], source[0]


@pytest.mark.usefixtures("prober")
@pytest.mark.parametrize(
    ("family", "vip", "ends"),
    [
        (socket.AF_INET, VIP, {"10.244.1.10:8080", "10.244.2.10:8080"}),
        (socket.AF_INET6, VIP6, {"[fd00:10:244:1::a]:8080", "[fd00:10:244:2::a]:8080"}),
        (socket.AF_INET6, f"::ffff:{VIP}", {"10.244.1.10:8080", "10.244.2.10:8080"}),
    ],
    ids=["IPv4", "IPv6", "IPv4 by a socket of IPv6"],
)
async def test_a_socket_that_sends_without_connecting_keeps_its_backend(
    node: Node1, world: World, family: int, vip: str, ends: set[str]
) -> None:
    """Answers seem to come from the service. When the backend goes, the next datagram goes to another one."""
    await node.serve(A, C)
    with opened(world, B, family, socket.SOCK_DGRAM) as client:
        answers = {await exchange(client, (vip, 80)) for _ in range(12)}
        assert len(answers) == 1
        (first, seen) = answers.pop()
        assert first in ends
        assert seen == vip
        other = next(pod for pod in (A, C) if not any(each in first for each in pod.addresses.values()))
        await node.serve(other)
        assert (await exchange(client, (vip, 80)))[0] == (ends - {first}).pop()
        await node.serve()
        with pytest.raises(ConnectionRefusedError):
            await exchange(client, (vip, 80))
    fresh = set()
    await node.serve(A, C)
    for _ in range(40):
        with opened(world, B, family, socket.SOCK_DGRAM) as client:
            fresh.add((await exchange(client, (vip, 80)))[0])
    assert fresh == ends


@pytest.mark.usefixtures("prober")
async def test_a_connected_socket_names_the_service_as_its_peer(node: Node1, world: World) -> None:
    loop = asyncio.get_running_loop()
    for protocol, kind in (("TCP", socket.SOCK_STREAM), ("UDP", socket.SOCK_DGRAM)):
        await node.serve(A, protocol=protocol)
        for family, vip in ((socket.AF_INET, VIP), (socket.AF_INET6, VIP6), (socket.AF_INET6, f"::ffff:{VIP}")):
            with opened(world, B, family, kind) as client:
                await loop.sock_connect(client, (vip, 80))
                assert client.getpeername()[:2] == (vip, 80)


@pytest.mark.usefixtures("prober")
@pytest.mark.parametrize("client", [B, plan.NODES["node-1"], plan.OUTSIDE["outside"]], ids=lambda place: place.name)
@pytest.mark.parametrize("family", [4, 6])
async def test_the_next_datagram_of_a_connected_socket_goes_to_who_serves_now(
    node: Node1, world: World, client: plan.Place, family: int
) -> None:
    """It once stayed with the endpoint that it was told when it connected, until it connected again."""
    loop = asyncio.get_running_loop()
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    vip = (VIP6, 80) if family == 6 else (VIP, 80)
    target = (plan.NODES["node-1"].addresses[family], 30080) if client.name == "outside" else vip
    await node.serve(A)
    with opened(world, client, kind, socket.SOCK_DGRAM) as connected:
        await loop.sock_connect(connected, target)

        async def ask() -> str:
            await loop.sock_sendall(connected, b"?")
            return (await loop.sock_recv(connected, 100)).decode().partition(" ")[0]

        async def insist() -> str:
            """Told of an earlier refusal, a client asks again."""
            while True:
                with contextlib.suppress(*REFUSED):
                    return await ask()

        for pods in ((A,), (C,), (), (A,), None, (C,)):
            if pods is None:
                await node.vanish()
            else:
                await node.serve(*pods)
            if pods:
                (pod,) = pods
                async with asyncio.timeout(SOON):
                    assert await insist() == join(pod.addresses[family], 8080)
            else:
                with pytest.raises(REFUSED if pods == () else OSError):  # a time-out is one, too
                    async with asyncio.timeout(SOON if pods == () else SILENCE):
                        await ask()
        assert connected.getpeername()[:2] == target


class Uncounted(Prober):
    """Clients whose processes are in no control group of the node: only their packets are seen."""

    def _socket(self, place: plan.Place, family: int, protocol: str) -> socket.socket:
        kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
        made = netns.socket_in(self._world.where(place), socket.AF_INET6 if family == 6 else socket.AF_INET, kind)
        made.setblocking(False)
        return made


@pytest.mark.usefixtures("prober")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
async def test_pods_whose_sockets_are_not_asked_are_served_by_their_packets(
    node: Node1, world: World, protocol: str
) -> None:
    """With the same answers, on one bridge too; and a pod that reaches itself is masqueraded as in other modes."""
    uncounted = Uncounted(world)
    await node.serve(A, C, protocol=protocol)
    for vip, pod in ((f"{VIP}:80", A.addresses[4]), (f"[{VIP6}]:80", A.addresses[6])):
        answers = [await uncounted.ask(B, protocol, vip) for _ in range(30)]
        assert {each.seen for each in answers} == {B.addresses[6 if ":" in pod else 4]}
        assert len({each.end for each in answers}) == 2
        own = [await uncounted.ask(A, protocol, vip) for _ in range(30)]
        assert {each.seen for each in own if pod in each.end} <= plan.local("node-1", 6 if ":" in pod else 4)
        assert {each.seen for each in own if pod not in each.end} == {A.addresses[6 if ":" in pod else 4]}
    assert (await uncounted.ask(B, protocol, f"{VIP}:81")).end == "REFUSED"
    await node.serve(protocol=protocol)
    for target in (f"{VIP}:80", f"[{VIP6}]:80", "172.30.0.11:30080"):
        assert (await uncounted.ask(B, protocol, target)).end == "REFUSED"


@pytest.mark.usefixtures("prober")
async def test_a_flow_to_the_backend_itself_and_one_by_the_service_may_have_one_port(node: Node1, world: World) -> None:
    """Their answers look alike, until tracking gives one of them another port. Once they left for nowhere."""
    await node.serve(A, protocol="TCP")
    loop = asyncio.get_running_loop()
    for kept_open in (True, False):
        with contextlib.ExitStack() as stack:
            for target in ((A.addresses[4], 8080), (VIP, 80), ("172.30.0.11", 30080)):
                client = stack.enter_context(
                    netns.socket_in(world.where(B), socket.AF_INET, socket.SOCK_STREAM)  # only its packets are seen
                )
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind((B.addresses[4], 47200 + kept_open))
                async with asyncio.timeout(SOON):
                    await loop.sock_connect(client, target)
                    assert (await loop.sock_recv(client, 100)).startswith(b"10.244.1.10:8080")
                if not kept_open:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()


@pytest.mark.usefixtures("prober")
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_a_client_outside_uses_its_port_again(node: Node1, world: World, *, reset: bool) -> None:
    """Connection tracking begins such a flow anew; it has to be led to a backend again."""
    await node.serve(A, C, protocol="TCP")
    loop = asyncio.get_running_loop()
    for _ in range(8):
        with opened(world, plan.OUTSIDE["outside"], socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.bind(("172.30.0.100", 47123))
            async with asyncio.timeout(SOON):
                await loop.sock_connect(client, ("172.30.0.11", 30080))
                assert (await loop.sock_recv(client, 100)).endswith(b"172.30.0.11")
                if not reset:
                    assert await loop.sock_recv(client, 100) == b""


async def test_datagrams_in_fragments_pass_both_ways(node: Node1, world: World) -> None:
    loop = asyncio.get_running_loop()
    await node.serve(A)
    for family, target in ((4, ("172.30.0.11", 30080)), (6, ("fd00:172:30::b", 30080))):
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        with (
            opened(world, A, kind, socket.SOCK_DGRAM) as server,
            opened(world, plan.OUTSIDE["outside"], kind, socket.SOCK_DGRAM) as client,
        ):
            server.bind((A.addresses[family], 8080))
            async with asyncio.timeout(SOON):
                await loop.sock_sendto(client, b"x" * 6000, target)
                data, peer = await loop.sock_recvfrom(server, 9000)
                assert len(data) == 6000
                await loop.sock_sendto(server, data, peer)
                assert await loop.sock_recvfrom(client, 9000) == (data, (*target, *((0, 0) if family == 6 else ())))


async def test_errors_about_translated_datagrams_reach_the_client(node: Node1, world: World) -> None:
    """Nobody listens in the pod: its ICMP names the pod, what the client gets names the service."""
    loop = asyncio.get_running_loop()
    await node.serve(C)
    for target in (("172.30.0.11", 30080), ("fd00:172:30::b", 30080)):
        kind = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        with opened(world, plan.OUTSIDE["outside"], kind, socket.SOCK_DGRAM) as client:
            await loop.sock_connect(client, target)
            await loop.sock_sendall(client, b"?")
            async with asyncio.timeout(SOON):
                with pytest.raises(ConnectionRefusedError):
                    await loop.sock_recv(client, 100)


async def until(condition: object, what: str) -> None:
    """Wait for what `serve` notices by itself."""
    try:
        async with asyncio.timeout(SOON):
            while True:
                if condition():  # type: ignore[operator]
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


@pytest.mark.usefixtures("prober")
async def test_new_devices_and_addresses_are_noticed_at_once(node: Node1, prober: Prober) -> None:
    await node.serve(A, protocol="TCP")
    with Netlink(node.path) as kernel:
        kernel.request([Add(Link("late", Veth(Peer("late-peer")), up=True))])
        kernel.request([Add(Address("172.30.0.77/24", "eth0"))])
        try:
            await until(lambda: kernel.filters("late"), "the device has no filter")
            outside = plan.OUTSIDE["outside"]
            async with asyncio.timeout(SOON):
                while (await prober.ask(outside, "TCP", "172.30.0.77:30080")).end != "10.244.1.10:8080":
                    pass
        finally:
            kernel.request([Delete(Link("late")), Delete(Address("172.30.0.77/24", "eth0"))])


@pytest.mark.usefixtures("prober")
async def test_programs_and_entries_that_somebody_took_away_come_back(node: Node1, prober: Prober) -> None:
    await node.serve(C)
    right = snapshot(node.path)
    group = facility.cgroup(node.path)
    (connect,) = bpf.held(group, "cgroup/connect4")
    bpf.release(connect, group)
    assert snapshot(node.path) != right
    endpoints = next(each for each in map(bpf.KernelMap.by_id, connect.map_ids()) if each.name == layout.ENDPOINTS)
    connect.close()
    endpoints.delete_all([key for key, _ in endpoints.items()])
    await node.proxy.sync(Turn.PERIODIC)
    assert snapshot(node.path) == right
    assert (await prober.ask(B, "UDP", f"{VIP}:80")).end == "10.244.2.10:8080"
    assert (await prober.ask(plan.OUTSIDE["outside"], "UDP", "172.30.0.11:30080")).end == "10.244.2.10:8080"
    endpoints.close()


@pytest.mark.usefixtures("prober")
async def test_a_full_memory_of_clients_forgets_the_longest_unused(node: Node1, prober: Prober) -> None:
    """And so still keeps who asks now, by sockets and by packets."""
    await node.serve(A, C, protocol="TCP", affinity="ClientIP")
    (connect,) = bpf.held(facility.cgroup(node.path), "cgroup/connect4")
    maps = {each.name: each for each in map(bpf.KernelMap.by_id, connect.map_ids())}
    connect.close()
    memory = maps["affinity"]
    kept = layout.pack_endpoint("10.0.0.1", 80) + bytes(12)
    others = [(struct.pack("=I12xI", 1 << 20, number), kept) for number in range(memory.capacity)]
    memory.update_all(others)
    for client, target in ((B, f"{VIP}:80"), (plan.OUTSIDE["outside"], "172.30.0.11:30080")):
        ends = {(await prober.ask(client, "TCP", target)).end for _ in range(8)}
        assert len(ends) == 1
    assert sum(1 for _ in memory.items()) <= memory.capacity
    for each in maps.values():
        each.close()


@contextlib.contextmanager
def alone(program: bpf.Program, group: Path) -> Iterator[None]:
    """Attached so that nobody else may be (no BPF_F_ALLOW_MULTI)."""
    folder = os.open(group, os.O_RDONLY)
    packed = attach.ATTACH.pack(folder, program.fd, KINDS[program.section][1], 0, 0)
    syscall.call(syscall.PROG_ATTACH, packed, "attach alone")
    try:
        yield
    finally:
        os.close(folder)
        bpf.release(program, group)


ALWAYS_YES = bytes.fromhex("b7000000010000009500000000000000")  # r0 = 1; exit


@pytest.mark.usefixtures("prober")
async def test_a_place_that_somebody_has_for_himself_is_named_and_packets_are_served(node: Node1, world: World) -> None:
    """A program that was attached without leave for others; devices once stayed unguarded then, too."""
    group = facility.cgroup(node.path)
    group.mkdir(exist_ok=True)
    section = "cgroup/connect4"
    image = bpf.Image("theirs", b"GPL", {}, {"theirs": bpf.ProgramSpec("theirs", section, ALWAYS_YES)}, {}, {})
    with bpf.load(image) as loaded, alone(loaded.programs["theirs"], group):
        with pytest.raises(KernelError, match="attach clew_connect4 to cgroup/connect4"):
            await node.serve(A, protocol="TCP")
        assert (await Uncounted(world).ask(B, "TCP", f"{VIP}:80")).end == "10.244.1.10:8080"
        assert (await Uncounted(world).ask(plan.OUTSIDE["outside"], "TCP", "172.30.0.11:30080")).end == (
            "10.244.1.10:8080"
        )
    await node.proxy.sync(Turn.PERIODIC)
    assert (await Prober(world).ask(plan.NODES["node-1"], "TCP", f"{VIP}:80")).end == "10.244.1.10:8080"
