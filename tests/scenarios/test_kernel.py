"""What only a kernel can show, in every mode: connections that go on, flows that must not, bits that are not ours."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import pytest

from clew.base.clock import SystemClock
from clew.facts import endpointslice, service
from clew.facts.node import Node
from clew.facts.servicecidr import ServiceCidr
from clew.kernel import netns
from clew.kernel.conntrack import KernelConntrack
from clew.kernel.nft import ElementChange, ElementSet, KernelNft
from clew.node import proxy_modes
from clew.node.proxy import ProxyPorts, ProxySettings, ProxyTables, ServiceProxy
from clew.reconcile import Turn
from clew.store import Table

from . import plan
from .left import run_in, snapshot
from .modes import MODES
from .page import PROXIES
from .world import Prober, World

pytestmark = pytest.mark.root
A, B, C = (plan.PODS[name] for name in "abc")
VIP = "10.96.0.10"
WITHOUT_RANGES = {"iptables"}  # modes that drop nothing of them
SERVICE_HOLDS = {"ipvs"}  # modes in which a service's address is the node's own, and connections end with it


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")).up() as world:
        yield world


class Node1:
    """The proxy of node-1 on its real kernel, as an agent in this mode runs it."""

    def __init__(self, world: World, mode: str) -> None:
        self.path, self.mode = world.path("node-1"), mode
        self.nft, self.conntrack = KernelNft(self.path), KernelConntrack(self.path)
        ports = ProxyPorts(
            partial(proxy_modes.mode(mode, self.path).open, self.path),
            self.conntrack,
            partial(proxy_modes.remove_others, mode, self.path),
        )
        self.tables = ProxyTables(Table("services"), Table("slices"), Table("nodes"))
        self.tables.nodes.replace({("", "node-1"): Node("node-1", tuple(plan.NODES["node-1"].addresses.values()))})
        self.tables.services.replace({})
        self.tables.slices.replace({})
        settings = ProxySettings("node-1", pod_cidrs=plan.POD_CIDRS)
        self.proxy = ServiceProxy(self.tables, settings, ports, SystemClock())
        self.proxy.prepare()

    def take_over(self, other: "Node1") -> None:
        """Know what another agent of this node knew."""
        self.tables.services.replace(dict(other.tables.services.items()))
        self.tables.slices.replace(dict(other.tables.slices.items()))

    async def serve(self, *pods: plan.Place, protocol: str = "TCP", **spec: object) -> None:
        """One service at VIP port 80 with these pods at port 8080; without pods: no slice."""
        fact = service.from_api(
            {
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"clusterIP": VIP, "ports": [{"port": 80, "protocol": protocol}], **spec},
            }
        )
        self.tables.services.put(fact.key, fact)
        piece = endpointslice.from_api(
            {
                "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
                "ports": [{"name": "", "port": 8080, "protocol": protocol}],
                "endpoints": [{"addresses": [pod.addresses[4]], "nodeName": pod.node} for pod in pods],
            }
        )
        self.tables.slices.put(piece.key, piece if pods else None)
        await self.proxy.sync()

    async def withdraw(self) -> None:
        self.tables.slices.put(("default", "web-1"), None)
        self.tables.services.put(("default", "web"), None)
        await self.proxy.sync()

    def leave(self) -> None:
        """As an agent that is killed: the rules stay."""
        self.proxy.close()
        self.nft.close()
        self.conntrack.close()

    def close(self) -> None:
        self.proxy.remove()
        self.leave()


PLAYED = [pytest.param(mode, marks=pytest.mark.lane(MODES[mode].lane)) for mode in MODES]


@pytest.fixture(params=PLAYED)
async def node(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Node1]:
    node = Node1(world, request.param)
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
        await prober.serve(pod, "UDP", 4, 8080)
    yield prober
    await prober.close()


async def ask(client: socket.socket) -> str:
    """Who answers the next datagram of a client that keeps its port."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        await loop.sock_sendall(client, b"?")
        return (await loop.sock_recv(client, 100)).decode().partition(" ")[0]


@contextlib.contextmanager
def udp_client(world: World) -> Iterator[socket.socket]:
    with netns.socket_in(world.where(B), socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((VIP, 80))
        yield client


@pytest.mark.usefixtures("prober")
async def test_a_udp_client_that_keeps_its_port_follows_its_service(node: Node1, world: World) -> None:
    await node.serve(A, protocol="UDP")
    with udp_client(world) as client:
        assert await ask(client) == "10.244.1.10:8080"
        await node.serve(A, C, protocol="UDP")
        assert await ask(client) == "10.244.1.10:8080", "a service that grows leaves flows where they are"
        await node.serve(C, protocol="UDP")
        assert await ask(client) == "10.244.2.10:8080"
        await node.serve(protocol="UDP")
        with pytest.raises(ConnectionRefusedError):
            await ask(client)


@contextlib.asynccontextmanager
async def established(world: World) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """A connection from B through the service to A; calling it shows that it goes on."""
    loop = asyncio.get_running_loop()
    listener = netns.socket_in(world.where(A), socket.AF_INET, socket.SOCK_STREAM)
    client = netns.socket_in(world.where(B), socket.AF_INET, socket.SOCK_STREAM)
    with listener, client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        client.setblocking(False)
        listener.bind((A.addresses[4], 8080))
        listener.listen()
        await loop.sock_connect(client, (VIP, 80))
        server, _ = await loop.sock_accept(listener)
        with server:

            async def goes_on(within: float = 20) -> None:
                await loop.sock_sendall(client, b"still there")
                async with asyncio.timeout(within):
                    heard = await loop.sock_recv(server, 20)
                if not heard:
                    raise ConnectionResetError("the other end was closed")
                assert heard == b"still there"

            yield goes_on


async def test_established_connections_outlive_their_backends_and_their_service(node: Node1, world: World) -> None:
    await node.serve(A)
    async with established(world) as goes_on:
        for change in (node.serve(C), node.serve()):
            await change
            await goes_on()
        await node.withdraw()
        if node.mode in SERVICE_HOLDS:
            with pytest.raises((TimeoutError, ConnectionError)):
                await goes_on(within=5)
        else:
            await goes_on()


WATCH = """add table ip watcher
add set ip watcher marks { type mark; flags dynamic; size 100; }
add set ip watcher priorities { type classid; flags dynamic; size 100; }
add chain ip watcher before { type filter hook prerouting priority -150; }
add chain ip watcher after { type filter hook postrouting priority 300; }
add rule ip watcher before iifname "cbr0" meta mark set 0x00a0002a
add rule ip watcher after oifname "eth0" ct state new add @marks { meta mark }
add rule ip watcher after oifname "eth0" ct state new add @priorities { meta priority }
"""


async def test_marks_of_users_pass_and_priorities_are_given_back(node: Node1, prober: Prober) -> None:
    node.nft.run(WATCH)
    try:
        await node.serve(C, protocol="UDP", externalIPs=["192.0.2.9"])
        for target in (f"{VIP}:80", "192.0.2.9:80"):  # the second one is masqueraded
            answer = await prober.ask(B, "UDP", target)
            assert answer.end == "10.244.2.10:8080"
        marks = node.nft.elements(ElementSet("ip", "watcher", "marks", 4, 0))
        priorities = node.nft.elements(ElementSet("ip", "watcher", "priorities", 4, 0))
        users = 0 if node.mode in PROXIES else 0x00A0002A  # a proxy's packets are its own
        assert {int.from_bytes(mark, "little") for mark in marks} == {users}
        assert {int.from_bytes(priority, "little") for priority in priorities} == {0}
    finally:
        node.nft.run("delete table ip watcher")


async def test_a_sticky_client_moves_only_when_its_backend_goes(node: Node1, prober: Prober) -> None:
    await node.serve(A, C, protocol="UDP", sessionAffinity="ClientIP")
    first = {(await prober.ask(B, "UDP", f"{VIP}:80")).end for _ in range(6)}
    assert len(first) == 1
    await node.serve(A, C, plan.PODS["d"], protocol="UDP", sessionAffinity="ClientIP")
    assert {(await prober.ask(B, "UDP", f"{VIP}:80")).end for _ in range(6)} == first
    other = C if first == {"10.244.1.10:8080"} else A
    await node.serve(other, protocol="UDP", sessionAffinity="ClientIP")
    moved = {(await prober.ask(B, "UDP", f"{VIP}:80")).end for _ in range(6)}
    assert moved == {f"{other.addresses[4]}:8080"}
    await node.serve(A, C, protocol="UDP", sessionAffinity="ClientIP")
    assert {(await prober.ask(B, "UDP", f"{VIP}:80")).end for _ in range(6)} == moved, "the new choice is kept as well"


FORGETFUL = [each for each in PLAYED if each.values != ("ipvs",)]  # IPVS remembers as long as a connection lingers


@pytest.mark.parametrize("node", FORGETFUL, indirect=True)
async def test_a_sticky_client_is_forgotten_after_its_time(node: Node1, prober: Prober) -> None:
    affinity = {"clientIP": {"timeoutSeconds": 1}}
    await node.serve(A, C, protocol="UDP", sessionAffinity="ClientIP", sessionAffinityConfig=affinity)
    quick = False
    while not quick:  # it is remembered for a second, which may be over before a busy machine asks again
        began = time.monotonic()
        first, second = [(await prober.ask(B, "UDP", f"{VIP}:80")).end for _ in range(2)]
        quick = time.monotonic() - began < 1
    assert second == first
    for _ in range(30):
        await asyncio.sleep(1.2)  # each question is remembered for a second from then
        if (await prober.ask(B, "UDP", f"{VIP}:80")).end != first:
            return
    raise AssertionError("for ever the same")


@pytest.mark.parametrize("node", [each for each in PLAYED if each.values == ("nftables",)], indirect=True)
async def test_a_client_that_finds_the_memory_full_is_served_and_forgotten(node: Node1, prober: Prober) -> None:
    await node.serve(A, C, protocol="UDP", sessionAffinity="ClientIP")
    others = {struct.pack("=II", 0xFFFF, number): bytes(4) for number in range(65536)}
    node.nft.change([ElementChange(ElementSet("ip", "clew-proxy", "affinity", 8, 4), (), others)])
    seen = {(await prober.ask(B, "UDP", f"{VIP}:80")).end for _ in range(40)}
    assert seen == {"10.244.1.10:8080", "10.244.2.10:8080"}


RST, SYN = 4, 2
STRICT = {"iptables"}  # modes that drop what tracking calls invalid, as kube-proxy's do


def segment(port: int, flags: int, source: str, target: str) -> bytes:
    """A TCP header to port 8080, its checksum right: a wrong one would be invalid by itself (RFC 9293, section 3.1)."""
    head = struct.pack("!HHIIBBHHH", port, 8080, 1, 0, 5 << 4, flags, 1024, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!HH", socket.IPPROTO_TCP, len(head))
    total = sum(struct.unpack("!16H", pseudo + head))
    total = (total >> 16) + (total & 0xFFFF)
    return head[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[18:]


async def test_packets_that_tracking_calls_invalid_pass_but_in_mode_iptables(node: Node1, world: World) -> None:
    """A reset of no connection, and after it a packet that begins one: when that is there, the other one was before."""
    await node.serve(C)
    raw = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    came: list[int] = []
    with netns.socket_in(world.where(B), *raw) as sender, netns.socket_in(world.where(C), *raw) as receiver:
        receiver.setblocking(False)
        for port, flags in ((1001, RST), (1002, SYN)):
            sender.sendto(segment(port, flags, B.addresses[4], C.addresses[4]), (C.addresses[4], 0))
        async with asyncio.timeout(20):
            while 1002 not in came:
                packet = await asyncio.get_running_loop().sock_recv(receiver, 100)
                came += struct.unpack_from("!H", packet, 20)
    assert came == ([1002] if node.mode in STRICT else [1001, 1002])


async def test_ranges_of_cluster_addresses_come_and_go(node: Node1, prober: Prober) -> None:
    """As ServiceCIDRs do; they merge where they touch. A pod's address stands for one that no service has."""
    await node.serve(A)
    target = f"{C.addresses[4]}:8080"
    pods, other = f"{C.addresses[4]}/32", "10.187.210.0/28"
    for ranges, silent in (([], False), ([other, pods], True), ([other, "10.244.2.0/25", "10.244.2.128/25"], True),
                           ([other, "10.244.2.128/25"], False)):  # fmt: skip
        node.tables.ranges.table.replace({("", each): ServiceCidr(each, (each,)) for each in ranges})
        await node.proxy.sync()
        answer = await prober.ask(B, "UDP", target)
        assert answer.end == ("DROPPED" if silent and node.mode not in WITHOUT_RANGES else target), ranges


async def test_a_restart_changes_nothing(node: Node1, world: World) -> None:
    await node.serve(A, C, sessionAffinity="ClientIP", externalIPs=["192.0.2.9"])
    before, generation = snapshot(node.path), node.nft.generation()
    again = Node1(world, node.mode)
    try:
        again.take_over(node)
        await again.proxy.sync()
        await again.proxy.sync(Turn.PERIODIC)
        assert snapshot(node.path) == before
        assert again.nft.generation() == generation
    finally:
        again.leave()


VANDALISM = {
    "nftables": (
        "nft flush ruleset",
        "nft flush chain ip clew-proxy services",
        "nft flush map ip clew-proxy service-ips",
        "nft delete table ip6 clew-proxy",
    ),
    "ipvs": (
        "ip link delete kube-ipvs0",
        "ipset flush",
        "iptables-legacy -t nat -F",
        "iptables-legacy -t mangle -F KUBE-PROXY-FIREWALL",
    ),
    "userspace": ("iptables-legacy -t nat -F", "iptables-legacy -t nat -F KUBE-PORTALS-CONTAINER"),
    "ebpf": (
        "nft flush ruleset",
        "tc qdisc delete dev eth0 clsact",
        "tc filter delete dev veth-b ingress",
    ),
    "iptables": (
        "iptables-legacy -t nat -F",
        "iptables-legacy -t nat -F KUBE-SERVICES",
        "iptables-legacy -t nat -D PREROUTING 1",
        "iptables-legacy -t filter -F",
        "ip6tables-legacy -t nat -F POSTROUTING",
    ),
}
DAMAGES = [
    pytest.param(mode, command, marks=pytest.mark.lane(MODES[mode].lane), id=f"{mode}: {command}")
    for mode, commands in VANDALISM.items()
    for command in commands
]


@pytest.mark.parametrize(("node", "command"), DAMAGES, indirect=["node"])
async def test_what_somebody_deleted_comes_back(node: Node1, prober: Prober, command: str) -> None:
    await node.serve(C, protocol="UDP")
    right = snapshot(node.path)
    run_in(node.path, command)
    await node.proxy.sync(Turn.PERIODIC)
    assert (await prober.ask(B, "UDP", f"{VIP}:80")).end == "10.244.2.10:8080"
    assert sorted(snapshot(node.path)) == sorted(right)
    before = node.nft.generation()
    await node.proxy.sync(Turn.PERIODIC)
    assert node.nft.generation() == before


FOREIGN = """*nat
:THEIRS - [0:0]
-A THEIRS -d 192.0.2.1/32 -j RETURN
-A PREROUTING -j THEIRS
COMMIT
*filter
-A FORWARD -d 192.0.2.1/32 -j DROP
COMMIT
"""


async def test_rules_of_others_stay_as_they_are(node: Node1) -> None:
    node.nft.run("add table ip foreign\nadd chain ip foreign c { type filter hook forward priority 7; }")
    run_in(node.path, "iptables-legacy-restore --noflush", FOREIGN)
    try:
        theirs = snapshot(node.path)
        await node.serve(A)
        assert set(theirs) <= set(snapshot(node.path))
        await node.withdraw()
        node.proxy.remove()
        assert snapshot(node.path) == theirs
    finally:
        node.nft.run("delete table ip foreign")
        for table in ("nat", "filter"):
            for command in ("-F", "-X"):
                run_in(node.path, f"iptables-legacy -t {table} {command}")


async def test_what_a_kube_proxy_of_mode_nftables_left_goes(node: Node1) -> None:
    """Its tables would go on to translate connections to backends that have long gone."""
    node.nft.run("add table ip kube-proxy\nadd table ip6 kube-proxy\nadd chain ip kube-proxy services")
    await node.serve(A)
    assert not any("kube-proxy" in line for line in snapshot(node.path) if line.startswith("table"))


LEFT = {
    "iptables": """*nat
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
-A KUBE-SERVICES -d 10.96.0.10/32 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A PREROUTING -j KUBE-SERVICES
COMMIT
""",
    "userspace": """*nat
:KUBE-PORTALS-CONTAINER - [0:0]
-A KUBE-PORTALS-CONTAINER -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 40000
-A PREROUTING -j KUBE-PORTALS-CONTAINER
COMMIT
""",
    "ipvs": """*nat
:KUBE-NODE-PORT - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
-A KUBE-NODE-PORT -p tcp -j KUBE-LOAD-BALANCER
-A PREROUTING -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
COMMIT
""",
}


@pytest.mark.parametrize("left", LEFT)
async def test_what_a_kube_proxy_left_by_the_other_programs_goes(node: Node1, left: str) -> None:
    """Debian's iptables writes into nf_tables, ours into the legacy tables where it can: rules in both would act."""
    run_in(node.path, "iptables-nft-restore --noflush", LEFT[left])
    try:
        await node.serve(A)
        assert "KUBE" not in run_in(node.path, "iptables-nft-save")
    finally:
        node.nft.run("delete table ip nat")


@pytest.mark.parametrize("programs", ["iptables-legacy-restore", "iptables-nft-restore"])
@pytest.mark.parametrize("left", LEFT)
def test_cleanup_finds_what_either_kind_of_programs_wrote(world: World, left: str, programs: str) -> None:
    path = world.path("node-1")
    run_in(path, "iptables-legacy-restore --noflush", FOREIGN)  # legacy tables are there, with something in them
    run_in(path, f"{programs} --noflush", LEFT[left])
    try:
        proxy_modes.remove_all(path)
        assert "KUBE" not in run_in(path, "iptables-nft-save") + run_in(path, "iptables-legacy-save")
        assert "-A THEIRS" in run_in(path, "iptables-legacy-save")
    finally:
        for kind in ("legacy", "nft"):
            for table in ("nat", "filter"):
                for command in ("-F", "-X"):
                    run_in(path, f"iptables-{kind} -t {table} {command}")
        for table in ("nat", "filter"):
            run_in(path, "nft -f -", f"add table ip {table}\ndelete table ip {table}")


def test_cleanup_takes_the_rules_of_every_mode_away(world: World) -> None:
    path = world.path("node-1")
    before = snapshot(path)
    nodes = [Node1(world, mode) for mode in MODES if not proxy_modes.MODES[mode].missing(path)]
    try:
        for node in nodes:
            had = snapshot(path)
            asyncio.run(node.serve(A))
            assert set(snapshot(path)) - set(had), f"mode {node.mode} wrote something"
        nodes[0].nft.run("add table ip kube-proxy")
        proxy_modes.remove_all(path)
        assert sorted(snapshot(path)) == sorted(before)
    finally:
        for node in nodes:
            node.close()


SWITCHES = [
    pytest.param(before, after, marks=[pytest.mark.lane(MODES[mode].lane) for mode in {before, after}])
    for before in MODES
    for after in MODES
    if before != after
]


@pytest.mark.parametrize(("before", "node"), SWITCHES, indirect=["node"])
async def test_switching_leaves_nothing_of_the_former_mode_and_breaks_nothing(
    node: Node1, before: str, world: World
) -> None:
    other = Node1(world, node.mode)
    await other.serve(A)
    alone = snapshot(node.path)
    other.close()
    former = Node1(world, before)
    companion = asyncio.ensure_future(former.proxy.serve())
    try:
        await former.serve(A)
        async with established(world) as goes_on:
            companion.cancel()
            await asyncio.gather(companion, return_exceptions=True)
            former.leave()
            node.take_over(former)
            await node.proxy.sync()
            # a proxy's connections end with it; with a service's address those that tracking does not carry on
            if before in PROXIES or (before in SERVICE_HOLDS and node.mode in PROXIES):
                with pytest.raises((TimeoutError, ConnectionError)):
                    await goes_on(within=5)
            else:
                await goes_on()
            assert sorted(snapshot(node.path)) == sorted(alone)
        async with established(world) as goes_on:
            await goes_on()
    finally:
        companion.cancel()
        await asyncio.gather(companion, return_exceptions=True)
        proxy_modes.remove(before, node.path)
