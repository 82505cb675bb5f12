"""Datagrams of clients that go on asking while mode ebpf comes, goes, starts again, and while others churn its maps."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from clew.facts import endpointslice, service
from clew.facts.endpointslice import EndpointSlice
from clew.facts.service import Service
from clew.node import proxy_modes
from clew.reconcile import Turn

from . import plan
from .left import snapshot
from .test_ebpf import SOON, VIP, A, B, C, opened
from .test_kernel import Node1
from .test_kernel import prober as prober  # noqa: PLC0414 - fixtures
from .test_packets import world as world  # noqa: PLC0414
from .world import World, join

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("prober")]
PORT = 30085
CLIENTS = [(B, (VIP, 80)), (plan.NODES["node-1"], (VIP, 80)), (plan.OUTSIDE["outside"], ("172.30.0.11", PORT))]


class Asker:
    """A connected datagram socket whose program never stops asking, whatever it hears."""

    def __init__(self, made: socket.socket, target: tuple[str, int]) -> None:
        self._socket = made
        made.connect(target)
        self._heard = asyncio.Event()
        self.last = ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                self._socket.send(b"?")
                async with asyncio.timeout(0.05):
                    self.last = (await loop.sock_recv(self._socket, 100)).decode().partition(" ")[0]
                    self._heard.set()
            await asyncio.sleep(0.002)  # its pace

    async def hears(self, *pods: plan.Place) -> None:
        """From now on one of these answers, at the latest after SOON."""
        ends = {join(pod.addresses[4], 8080) for pod in pods}
        async with asyncio.timeout(SOON):
            while True:
                self._heard.clear()
                await self._heard.wait()
                if self.last in ends:
                    return


@pytest.fixture
async def askers(world: World) -> AsyncIterator[list[Asker]]:
    with contextlib.ExitStack() as sockets:
        made = [
            Asker(sockets.enter_context(opened(world, place, socket.AF_INET, socket.SOCK_DGRAM)), target)
            for place, target in CLIENTS
        ]
        tasks = [asyncio.ensure_future(each.run()) for each in made]
        yield made
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


SPEC = {"type": "NodePort", "ports": [{"port": 80, "protocol": "UDP", "nodePort": PORT}]}
WAY = ["ebpf", "ebpf", "nftables", "ebpf", "iptables", "ebpf"]


async def test_clients_that_go_on_asking_are_answered_through_every_change(world: World, askers: list[Asker]) -> None:
    """Agents are killed and begin again, in this mode and another; endpoints move in between."""
    serving = A
    former: Node1 | None = None
    try:
        for mode in WAY:
            node = Node1(world, mode)
            if former is not None:
                former.leave()
                node.take_over(former)
            former = node
            await node.proxy.sync()
            if node.tables.services.items():
                await asyncio.gather(*(each.hears(serving) for each in askers))
            for serving in (A, C):
                await node.serve(serving, protocol="UDP", **SPEC)
                await asyncio.gather(*(each.hears(serving) for each in askers))
            await node.serve(protocol="UDP", **SPEC)
            serving = A
            await node.serve(serving, protocol="UDP", **SPEC)
            await asyncio.gather(*(each.hears(serving) for each in askers))
    finally:
        if former is not None:
            former.close()


def some(number: int, chance: random.Random) -> tuple[Service, EndpointSlice | None]:
    """A service with one to three ports of any protocol, some sticky, some Local, some without endpoints."""
    name = f"s{number}"
    ports = [
        {"name": f"p{at}", "port": chance.choice([53, 80, 443]), "protocol": protocol}
        for at, protocol in enumerate(chance.sample(["TCP", "UDP", "SCTP"], chance.randint(1, 3)))
    ]
    spec: dict[str, object] = {"clusterIP": f"10.96.{1 + number // 200}.{number % 200 + 1}", "ports": ports}
    if chance.random() < 0.3:
        spec["type"] = "NodePort"
        spec["externalTrafficPolicy"] = chance.choice(["Local", "Cluster"])
        for at, port in enumerate(ports):
            port["nodePort"] = 31000 + 3 * number + at
    if chance.random() < 0.3:
        spec["sessionAffinity"] = "ClientIP"
    piece = {
        "metadata": {"name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": port["name"], "port": 8080, "protocol": port["protocol"]} for port in ports],
        "endpoints": [
            {"addresses": [f"10.244.{chance.randint(1, 2)}.{20 + chance.randint(0, 90)}"], "nodeName": "node-1"}
            for _ in range(chance.randint(1, 4))
        ],
    }
    fact = service.from_api({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    return fact, endpointslice.from_api(piece) if chance.random() < 0.8 else None


async def test_three_hundred_services_churned_leave_what_a_start_would_make(world: World) -> None:
    """A successor that knows the same services finds nothing to change, and nothing is left when they have gone."""
    chance = random.Random(7)
    node = Node1(world, "ebpf")
    await node.proxy.sync()
    empty = snapshot(node.path)
    try:
        for _ in range(12):
            for number in chance.sample(range(300), 120):
                fact, piece = some(number, chance)
                gone = chance.random() < 0.2
                node.tables.services.put(fact.key, None if gone else fact)
                node.tables.slices.put(("default", f"s{number}-1"), None if gone else piece)
            await node.proxy.sync()
        assert len(node.proxy.balancings) > 150
        assert untold(node) == 0
        for key in list(node.proxy.balancings):
            node.tables.services.put(key, None)
        await node.proxy.sync()
        await node.proxy.sync(Turn.PERIODIC)
        assert untold(node) == 0
        assert sorted(snapshot(node.path)) == sorted(empty)
    finally:
        node.close()


def untold(node: Node1) -> int:
    """How many backends of a successor would change something."""
    successors = proxy_modes.MODES["ebpf"].open(node.path, [node.proxy.settings(4), node.proxy.settings(6)])
    try:
        known = {key: each.balancers for key, each in node.proxy.balancings.items()}
        return sum(bool(each.sync(known)) for each in successors)
    finally:
        for each in successors:
            each.close()
