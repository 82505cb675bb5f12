"""Ways in which programs use sockets, odd ones too, in mode ebpf: each has to end where an ordinary one does."""

import asyncio
import contextlib
import ctypes
import socket
import struct

import pytest

from . import plan
from .test_ebpf import SOON, VIP, VIP6, A, B, C, Node1, exchange, opened
from .test_ebpf import node as node  # noqa: PLC0414 - fixtures
from .test_ebpf import prober as prober  # noqa: PLC0414
from .test_packets import world as world  # noqa: PLC0414
from .world import World, join

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("prober")]
UDP_SEGMENT, MSG_CONFIRM, MSG_FASTOPEN = 103, 0x800, 0x20000000
FAST_OPEN, FAST_OPEN_CONNECT = 23, 30  # TCP_FASTOPEN, TCP_FASTOPEN_CONNECT
CLIENTS = [B, plan.NODES["node-1"]]
WAYS = [(socket.AF_INET, VIP, 4), (socket.AF_INET6, VIP6, 6), (socket.AF_INET6, f"::ffff:{VIP}", 4)]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda place: place.name)


async def answer(made: socket.socket) -> str:
    async with asyncio.timeout(SOON):
        return (await asyncio.get_running_loop().sock_recv(made, 100)).decode().partition(" ")[0]


@every_client
@pytest.mark.parametrize("how", ["sendto", "connect"])
async def test_fast_open_is_a_connection_like_any_other(
    node: Node1, world: World, client: plan.Place, how: str
) -> None:
    """`sendto` with MSG_FASTOPEN connects without a call of connect; TCP_FASTOPEN_CONNECT puts the SYN off."""
    await node.serve(C, protocol="TCP")
    for family, vip, answers in WAYS:
        with opened(world, client, family, socket.SOCK_STREAM) as made:
            with contextlib.suppress(BlockingIOError):
                if how == "sendto":
                    made.sendto(b"?", MSG_FASTOPEN, (vip, 80))
                else:
                    made.setsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT, 1)
                    made.connect((vip, 80))
                    made.send(b"?")
            assert await answer(made) == join(C.addresses[answers], 8080)
            assert made.getpeername()[:2] == (vip, 80)


@every_client
async def test_a_connected_socket_may_name_its_peer_again(node: Node1, world: World, client: plan.Place) -> None:
    """Sendto with the address that it is connected to. Its answer once came from an address that nobody asked."""
    loop = asyncio.get_running_loop()
    await node.serve(A)
    for family, vip, answers in WAYS:
        with opened(world, client, family, socket.SOCK_DGRAM) as made:
            await loop.sock_connect(made, (vip, 80))
            for _ in range(3):
                made.sendto(b"?", MSG_CONFIRM, (vip, 80))
                assert await answer(made) == join(A.addresses[answers], 8080)
                made.send(b"?")
                assert await answer(made) == join(A.addresses[answers], 8080)


@every_client
async def test_a_datagram_socket_connects_again_and_away(node: Node1, world: World, client: plan.Place) -> None:
    """To an endpoint itself, back to the service, and to nobody (AF_UNSPEC); then it sends without a peer."""
    loop = asyncio.get_running_loop()
    await node.serve(A)
    for family, vip, answers in WAYS:
        endpoint = (
            A.addresses[answers] if answers == 6 or family == socket.AF_INET else f"::ffff:{A.addresses[answers]}"
        )
        with opened(world, client, family, socket.SOCK_DGRAM) as made:
            for target in ((vip, 80), (endpoint, 8080), (vip, 80)):
                await loop.sock_connect(made, target)
                made.send(b"?")
                assert await answer(made) == join(A.addresses[answers], 8080)
                assert made.getpeername()[:2] == target
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.connect(made.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) == 0
            assert (await exchange(made, (vip, 80)))[0] == join(A.addresses[answers], 8080)


@every_client
async def test_datagrams_in_one_call_and_in_segments_of_one(node: Node1, world: World, client: plan.Place) -> None:
    """Sendmmsg asks for each of its messages; one send of several segments (UDP_SEGMENT) is several datagrams."""
    for family, vip, answers in WAYS:
        end = join(A.addresses[answers], 8080)
        loop = asyncio.get_running_loop()
        await node.serve(A)
        for connected in (False, True):
            with opened(world, client, family, socket.SOCK_DGRAM) as made:
                made.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 300)
                if connected:
                    await loop.sock_connect(made, (vip, 80))
                    made.send(bytes(900))
                else:
                    made.sendto(bytes(900), (vip, 80))
                assert [await answer(made) for _ in range(3)] == [end] * 3
        with opened(world, client, family, socket.SOCK_DGRAM) as made:
            assert many(made.fileno(), (family, vip), 4) == 4
            assert [await answer(made) for _ in range(4)] == [end] * 4


def many(fd: int, target: tuple[int, str], count: int) -> int:
    """How many datagrams one call of sendmmsg has sent."""
    family, address = target
    packed = socket.inet_pton(family, address)
    name = struct.pack("=H", family) + struct.pack("!H", 80)
    name += bytes(4) + packed + bytes(4) if family == socket.AF_INET6 else packed + bytes(8)
    names, data = ctypes.create_string_buffer(name, len(name)), ctypes.create_string_buffer(b"?", 1)
    piece = ctypes.create_string_buffer(struct.pack("PN", ctypes.addressof(data), 1))
    head = struct.pack("PIPNPNi4xI4x", ctypes.addressof(names), len(name), ctypes.addressof(piece), 1, 0, 0, 0, 0)
    return int(ctypes.CDLL(None, use_errno=True).sendmmsg(fd, head * count, count, 0))


@every_client
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
@pytest.mark.parametrize("family", [4, 6])
async def test_a_socket_that_is_bound_to_an_address_keeps_it(
    node: Node1, world: World, client: plan.Place, kind: int, family: int
) -> None:
    """Also one that is bound to a device."""
    loop = asyncio.get_running_loop()
    await node.serve(C, protocol="TCP" if kind == socket.SOCK_STREAM else "UDP")
    target = (VIP6 if family == 6 else VIP, 80)
    for device in ("", "eth0"):
        with opened(world, client, socket.AF_INET6 if family == 6 else socket.AF_INET, kind) as made:
            made.bind((client.addresses[family], 0))
            if device:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            await loop.sock_connect(made, target)
            made.send(b"?")
            async with asyncio.timeout(SOON):
                said = (await loop.sock_recv(made, 100)).decode()
            assert said == f"{join(C.addresses[family], 8080)} {client.addresses[family]}"


async def test_one_port_number_of_two_protocols_is_two_services(node: Node1, world: World) -> None:
    """What UDP has at a cluster address is refused to TCP."""
    await node.serve(C, protocol="UDP")
    loop = asyncio.get_running_loop()
    for client in CLIENTS:
        with (
            opened(world, client, socket.AF_INET, socket.SOCK_STREAM) as made,
            pytest.raises(ConnectionRefusedError),
        ):
            await loop.sock_connect(made, (VIP, 80))


async def test_names_are_sorted_as_if_every_service_could_be_reached(node: Node1, world: World) -> None:
    """The resolver connects a datagram socket to each address, to see whether it can be reached.

    A service that has TCP alone once refused that, and so all of its addresses counted as out of reach.
    """
    await node.serve(C, protocol="TCP")
    for client in CLIENTS:
        for family, vip in ((socket.AF_INET, VIP), (socket.AF_INET6, VIP6)):
            with opened(world, client, family, socket.SOCK_DGRAM) as made:
                for port in (80, 0, 53):
                    made.connect((vip, port))
                assert made.getsockname()[0] in client.addresses.values()
