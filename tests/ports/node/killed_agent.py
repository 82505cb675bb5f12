"""An agent's CNI side as a process of its own that may be killed at any moment, over a kernel that outlives it.

The process is real, and so are its journal, its spool and its socket. The kernel is the stand-in, kept by the test's
process and asked over a socket: ten thousand pods' links would take a real one minutes. `fork_agents` is the program:
it has everything imported and forks an agent for each line that it reads, since kills are many.
"""

import asyncio
import os
import pickle
import signal
import socket
import socketserver
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from clew.base.clock import SystemClock
from clew.base.errors import Problem
from clew.base.metrics import Registry
from clew.compile import blocks
from clew.dataplane.bandwidth.apply import BandwidthPlane
from clew.dataplane.bird.apply import BirdPlane
from clew.dataplane.bird.homes import OwnBird
from clew.dataplane.hostports.apply import HostPortPlane
from clew.dataplane.hostports.objects import Place
from clew.dataplane.masquerade.apply import MasqueradePlane
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.overlay.apply import OverlayPlane
from clew.dataplane.overlay.esp import EspEnds
from clew.dataplane.overlay.secure import SecureEnds
from clew.facts.ipamblock import Block, Holder
from clew.facts.ippool import IPPool
from clew.facts.ipreservation import Reservation
from clew.facts.node import Node
from clew.facts.pod_asks import PodAsks
from clew.kernel.conntrack import FakeConntrack
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Address, Fdb, Filter, Link, Neighbour, Qdisc, Redirect, Request, Route, Rule, Veth
from clew.kernel.netlink.fake import FakeNetlink
from clew.kernel.nft import FakeNft
from clew.kernel.sysctl import FakeSysctl
from clew.kernel.wireguard import FakeWireGuard
from clew.kernel.xfrm import FakeXfrm
from clew.node import cni_server
from clew.node.attachments import Attachments
from clew.node.cni_calls import CniCalls
from clew.node.ipam.book import BlockBook
from clew.node.ipam.claims import BlockClaims, Waits
from clew.node.ipam.lookup import PodLookup
from clew.node.ipam.pod_cidr import PodCidrIpam
from clew.node.ipam.pools import CurrentRules, GoodPools, PoolIpam, PoolTables
from clew.node.ipam.view import BlockView
from clew.node.ipsec import Identity
from clew.node.journal import Journal
from clew.node.planes import Planes
from clew.node.podnet import PodNetwork
from clew.node.podnet_settings import NetworkSettings
from clew.node.spool import Spool
from clew.store.table import Table
from clew.watch.errors import ApiError

if TYPE_CHECKING:
    from clew.node.ipam.port import Ipam

T = TypeVar("T")

OWN = Node("one", ("172.30.0.11",), pod_cidrs=("10.244.1.0/25",))
POOL = IPPool("small", "10.9.0.0/25", 28)
OTHER = Node("three", ("172.30.0.13",), ipam="pools")  # whose block has room for others
GONE = "two"  # its Node object is; the API server has one of its Pods yet
KEPT = {"10.9.0.0": OTHER.name, "10.9.0.7": OTHER.name, "10.9.0.15": OTHER.name, "10.9.0.16": GONE}
LEFT = ("10.9.0.17", "10.9.0.30")  # of pods that are no more
RESERVED = Reservation("last", ("10.9.0.127",))
LENGTH = struct.Struct("!I")


class Ledger:
    """IPAMBlocks with versions, as an API server keeps them; in the test's process. Others have some already."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self._version = 0
        for cidr, node in (("10.9.0.0/28", OTHER.name), ("10.9.0.16/28", GONE)):
            block = blocks.empty(cidr, node)
            for ip in (*(ip for ip, owner in KEPT.items() if owner == node), *(LEFT if node == GONE else ())):
                given = blocks.give(block, Holder(f"{ip}/eth0", node, f"default/{ip}"), block.place(ip))
                assert given is not None
                block = given[0]
            self._stored(block)

    def of(self, node: str) -> list[str]:
        """The addresses that a node has."""
        held = ((block.address(place), one) for block in self.blocks.values() for place, one in block.held)
        return [ip for ip, one in held if one.node == node]

    def _stored(self, block: Block) -> Block:
        self._version += 1
        self.blocks[block.name] = replace(block, version=str(self._version), uid=block.uid or f"u{self._version}")
        return self.blocks[block.name]

    def every(self) -> list[Block]:
        return list(self.blocks.values())

    def get(self, name: str) -> Block | None:
        return self.blocks.get(name)

    def create(self, block: Block) -> Block | None:
        return None if block.name in self.blocks else self._stored(replace(block, uid=""))

    def update(self, block: Block) -> Block | None:
        now = self.blocks.get(block.name)
        return self._stored(block) if now is not None and now.version == block.version else None

    def delete(self, block: Block) -> bool:
        now = self.blocks.get(block.name)
        if now is not None and now.version == block.version:
            del self.blocks[block.name]
        return now is None or now.version == block.version


class Outside:
    """What outlives the agents: the node's kernel, the pods' namespaces by their files' numbers, the ledger."""

    def __init__(self, path: Path, namespaces: Sequence[int]) -> None:
        self.pods = {number: FakeNetlink() for number in namespaces}
        self.kernel = FakeNetlink(self.pods)
        self.kernel.request([Add(Link("eth0", up=True, mtu=1500)), Add(Address("172.30.0.11/24", "eth0"))])
        self.ledger = Ledger()
        lock = threading.Lock()

        class Conversation(socketserver.BaseRequestHandler):
            def handle(handler) -> None:  # noqa: N805 - `self` is the world
                while question := _read(handler.request):
                    target, method, arguments = question
                    with lock:
                        _write(handler.request, self._answer(target, method, arguments))

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(str(path), Conversation)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, target: Any, method: str, arguments: Any) -> Any:
        if target == "ledger":
            return getattr(self.ledger, method)(*arguments)
        kernel = self.kernel if target == 0 else self.pods[target]
        if method != "attempt":
            return getattr(kernel, method)(*arguments)
        answers = kernel.attempt(*arguments)
        return [None if each is None else (each.number, each.what, each.index, each.detail) for each in answers]


def _read(peer: socket.socket) -> Any:
    try:
        head = peer.recv(LENGTH.size, socket.MSG_WAITALL)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        data = peer.recv(length, socket.MSG_WAITALL) if length else b""
    except OSError:
        return None
    return pickle.loads(data) if len(data) == length else None  # noqa: S301 - from our own child


def _write(peer: socket.socket, value: Any) -> None:
    data = pickle.dumps(value)
    try:
        peer.sendall(LENGTH.pack(len(data)) + data)
    except OSError:  # it was killed meanwhile
        return


class Line:
    """A child's connection to the world."""

    def __init__(self, path: Path) -> None:
        self._peer = socket.socket(socket.AF_UNIX)
        self._peer.connect(str(path))
        self._lock = threading.Lock()

    def ask(self, target: Any, method: str, *arguments: Any) -> Any:
        with self._lock:
            _write(self._peer, (target, method, arguments))
            return _read(self._peer)


class FarKernel:
    """A namespace of the world as the port RtNetlink."""

    def __init__(self, line: Line, target: int = 0) -> None:
        self._line, self._target = line, target

    def request(self, batch: Sequence[Request]) -> None:
        for answer in self.attempt(batch):
            if answer is not None:
                raise answer

    def attempt(self, batch: Sequence[Request]) -> list[KernelError | None]:
        if not batch:
            return []
        answers = self._line.ask(self._target, "attempt", [_far(each) for each in batch])
        return [None if a is None else KernelError(a[0], a[1], index=a[2], detail=a[3]) for a in answers]

    def link(self, name: str) -> Link | None:
        found: Link | None = self._line.ask(self._target, "link", name)
        return found

    def links(self) -> list[Link]:
        return list(self._line.ask(self._target, "links"))

    def addresses(self) -> list[Address]:
        return list(self._line.ask(self._target, "addresses"))

    def routes(self, *, proto: int = 0, table: int = 0) -> list[Route]:
        every = self._line.ask(self._target, "routes")
        return [each for each in every if proto in {0, each.proto} and table in {0, each.table}]

    def neighbours(self) -> list[Neighbour]:
        return list(self._line.ask(self._target, "neighbours"))

    def fdb(self) -> list[Fdb]:
        return list(self._line.ask(self._target, "fdb"))

    def rules(self) -> list[Rule]:
        return list(self._line.ask(self._target, "rules"))

    def qdiscs(self) -> list[Qdisc]:
        return list(self._line.ask(self._target, "qdiscs"))

    def filters(self, dev: str) -> list[Filter]:
        return list(self._line.ask(self._target, "filters", dev))

    def redirects(self, dev: str) -> list[Redirect]:
        return list(self._line.ask(self._target, "redirects", dev))

    def close(self) -> None:
        """The line is the agent's."""


def _far(request: Request) -> Request:
    """A namespace's descriptor means nothing elsewhere: its file's number goes instead."""
    match request:
        case Add(thing=Link(detail=Veth(peer=peer)) as link) if peer is not None and peer.ns is not None:
            return Add(replace(link, detail=Veth(replace(peer, ns=os.fstat(peer.ns).st_ino))))
    return request


class FarLedger:
    def __init__(self, line: Line) -> None:
        self._line = line

    async def every(self) -> list[Block]:
        return list(await self._ask("every"))

    async def get(self, name: str) -> Block | None:
        found: Block | None = await self._ask("get", name)
        return found

    async def create(self, block: Block) -> Block | None:
        found: Block | None = await self._ask("create", block)
        return found

    async def update(self, block: Block) -> Block | None:
        found: Block | None = await self._ask("update", block)
        return found

    async def delete(self, block: Block) -> bool:
        return bool(await self._ask("delete", block))

    async def has_node(self, name: str) -> bool:
        return name in {OWN.name, OTHER.name}

    async def pods_of(self, node: str) -> dict[str, tuple[str, ...]]:
        return {f"default/{ip}": (ip,) for ip, owner in KEPT.items() if owner == node}

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(self._line.ask, "ledger", method, *arguments)


async def _nobody(_namespace: str, _name: str) -> PodAsks:
    raise ApiError(404, "NotFound", "no such pod")


async def _hears_nothing(problem: Problem) -> None:
    """Nobody looks at Events here."""


async def _agent(folder: Path, world: Path, kind: str) -> None:
    line = Line(world)
    kernel = FarKernel(line)

    def enter(ns: int, work: Callable[[Any, Any], T]) -> T:
        return work(FarKernel(line, os.fstat(ns).st_ino), FakeSysctl())

    nodes: Table[Node] = Table("nodes")
    nodes.replace({OWN.key: OWN, OTHER.key: OTHER})
    clock = SystemClock()
    ipam: Ipam = PodCidrIpam()
    pools: PoolIpam | None = None
    if kind == "pools":
        tables = PoolTables(Table("pools"), Table("blocks"), nodes, Table("reservations"), Table("configurations"))
        tables.reservations.replace({RESERVED.key: RESERVED})
        tables.configurations.replace({})
        tables.pools.replace({POOL.key: POOL})
        ledger = FarLedger(line)
        tables.blocks.replace({block.key: block for block in await ledger.every()})
        book = BlockBook(ledger, BlockView(tables.blocks), lambda: [OWN.name, OTHER.name])
        claims = BlockClaims(OWN.name, book, clock, CurrentRules(OWN.name, tables), Waits(empty=0.2, gone=0.2))
        ipam = pools = PoolIpam(OWN.name, tables, GoodPools(tables), claims, clock)
    journal = Journal(folder / "attachments.log", slack=200)
    attachments = Attachments(journal, ipam)
    identity = Identity(folder / "ipsec", "keys", Table("keys"))
    nft = FakeNft()
    tunnels = OverlayPlane(
        kernel, SecureEnds(FakeWireGuard(FakeNetlink()), str), EspEnds(FakeXfrm(), identity, lambda: 0.0)
    )
    network = PodNetwork(
        NetworkSettings(OWN.name, ("10.244.0.0/16",), linking="routed" if kind == "pools" else "bridge"), nodes,
        attachments.table,
        Planes(
            NetlinkPlane(kernel, FakeSysctl(), enter), tunnels, identity, BirdPlane(OwnBird(folder / "bird")),
            HostPortPlane(nft, FakeConntrack(), FakeSysctl(), Place("cbr0", 147)), MasqueradePlane(nft),
            BandwidthPlane(kernel),
        ), clock, ipam,
    )  # fmt: skip
    lookup = PodLookup(Table("pods"), None, _nobody)
    calls = CniCalls(attachments, network, Spool(folder / "spool"), lookup, Registry())
    calls.adopt()
    async with asyncio.TaskGroup() as group:
        group.create_task(network.run())
        if pools is not None:
            group.create_task(pools.run(attachments, _hears_nothing))
        await calls.start()
        await network.ready.wait()
        await cni_server.serve(cni_server.listen(folder / "cni.sock"), calls)


def fork_agents(folder: str, world: str, kind: str) -> None:
    """For each line of input an agent: its process id is printed, and killing it is the reader's affair."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                asyncio.run(_agent(Path(folder), Path(world), kind))
            except BaseException:  # noqa: BLE001 - it is the child's last word
                traceback.print_exc()
            finally:
                os._exit(1)
        print(pid, flush=True)  # noqa: T201 - this is the program's answer
