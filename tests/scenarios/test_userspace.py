"""What only userspace mode does: node ports are sockets, its own ports are nobody's, dead backends are passed over."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clew.dataplane.userspace.apply import running
from clew.ir.balancing import Protocol
from clew.kernel import netns

from . import plan
from .left import run_in
from .page import sections
from .test_packets import serving
from .world import Prober, World

pytestmark = pytest.mark.root
NODE_PORTS = sections(Path(__file__).with_name("nodeport.md"))[0]
B = plan.PODS["b"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")).up() as world:
        yield world


@pytest.fixture
async def prober(world: World) -> AsyncIterator[Prober]:
    prober = Prober(world)
    yield prober
    await prober.close()


@pytest.mark.parametrize("mode", ["userspace", "nftables", "iptables"])
async def test_node_ports_are_sockets_in_this_mode_alone(world: World, mode: str) -> None:
    async with serving(mode, NODE_PORTS, world):
        listening = run_in(world.path("node-1"), "ss -ltnH")
    assert (":30080 " in listening) == (mode == "userspace")
    assert ":30080 " not in run_in(world.path("node-1"), "ss -ltnH")


async def test_a_backend_that_does_not_answer_is_passed_over(world: World, prober: Prober) -> None:
    """Of two backends only one has a server: the other refuses, and no client notices."""
    await prober.serve(plan.PODS["c"], "TCP", 4, 8080)
    async with serving("userspace", NODE_PORTS, world):
        for _ in range(6):
            assert (await prober.ask(B, "TCP", "10.96.0.10:80")).end == "10.244.2.10:8080"
        assert running(world.path("node-1"), 4).forwarder.totals.retries


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
async def test_the_proxys_own_ports_take_nothing_that_was_not_redirected(
    world: World, prober: Prober, protocol: Protocol
) -> None:
    """Else whoever finds them could use a service that is not for him."""
    section = sections(Path(__file__).with_name("ports.md"))[0]
    for pod in (plan.PODS["a"], plan.PODS["c"]):
        await prober.serve(pod, protocol, 4, 5353)
    async with serving("userspace", section, world):
        assert (await prober.ask(B, protocol, "10.96.0.10:53")).end in {"10.244.1.10:5353", "10.244.2.10:5353"}
        ports = running(world.path("node-1"), 4).forwarder.ports
        port = next(port for key, port in ports.items() if key.protocol == protocol)
        for source in (B, plan.OUTSIDE["outside"]):
            assert (await prober.ask(source, protocol, f"172.30.0.11:{port}")).end == "REFUSED"


async def test_a_client_that_says_nothing_more_still_hears_the_answer(world: World) -> None:
    """Half-close through redirect, proxy and network."""
    loop = asyncio.get_running_loop()
    listener = netns.socket_in(world.where(plan.PODS["a"]), socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.setblocking(False)
        listener.bind((plan.PODS["a"].addresses[4], 8080))
        listener.listen()
        async with serving("userspace", NODE_PORTS, world):
            with netns.socket_in(world.where(B), socket.AF_INET, socket.SOCK_STREAM) as client:
                client.setblocking(False)
                await loop.sock_connect(client, ("10.96.0.10", 80))
                await loop.sock_sendall(client, b"question")
                client.shutdown(socket.SHUT_WR)
                async with asyncio.timeout(10):
                    server, _ = await loop.sock_accept(listener)
                    with contextlib.closing(server):
                        server.setblocking(False)
                        assert await loop.sock_recv(server, 100) == b"question"
                        assert await loop.sock_recv(server, 100) == b""
                        await loop.sock_sendall(server, b"answer")
                    assert await loop.sock_recv(client, 100) == b"answer"
                    assert await loop.sock_recv(client, 100) == b""
