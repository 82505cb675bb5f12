"""The forwarder on loopback sockets: what arrives whole, what is refused, what is given back."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from clew.base.clock import SystemClock
from clew.dataplane.userspace import forwarder as module
from clew.dataplane.userspace.forwarder import Forwarder
from clew.dataplane.userspace.objects import Way, WayKey

KEY = WayKey("default/web", "TCP", "Cluster")
DNS = WayKey("default/dns", "UDP", "Cluster")
LIMIT = 30


@pytest.fixture
async def proxy() -> AsyncIterator[Forwarder]:
    proxy = Forwarder(4, socket.socket, SystemClock())
    task = asyncio.ensure_future(proxy.run())
    await asyncio.sleep(0)
    yield proxy
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    proxy.close()
    assert not proxy.live


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - the kernel gives no event for a closed descriptor
            await asyncio.sleep(0.005)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[tuple[str, int]]:
    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[:2]
    finally:
        running.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only when the client has said everything: half-close has to arrive."""
    writer.write(await reader.read(-1))
    writer.close()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def silent() -> tuple[str, int]:
    """An address where connections are neither taken nor refused: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(listener.getsockname())
    yield listener.getsockname()
    for each in (*waiting, listener):
        each.close()


def refusing() -> tuple[str, int]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return nobody.getsockname()


async def ask(port: int, data: bytes) -> bytes:
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
        return answer


async def test_megabytes_both_ways_with_half_close(proxy: Forwarder) -> None:
    data = os.urandom(8 << 20)
    async with server(echo) as at:
        proxy.offer({KEY: Way((at,))}, {})
        assert await ask(proxy.ports[KEY], data) == data
        await until(lambda: not proxy.live)


async def test_a_refusing_backend_is_passed_over(proxy: Forwarder) -> None:
    async with server(echo) as at:
        proxy.offer({KEY: Way((refusing(), at))}, {})
        for _ in range(4):
            assert await ask(proxy.ports[KEY], b"x") == b"x"
        assert proxy.totals.connections == 4
        assert proxy.totals.retries == 2


async def test_a_silent_backend_is_passed_over_after_a_quarter_second(
    proxy: Forwarder, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    timeout = asyncio.timeout

    def noted(seconds: float) -> asyncio.Timeout:
        asked.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr(module.asyncio, "timeout", noted)
    async with server(echo) as at:
        proxy.offer({KEY: Way((silent, at))}, {})
        await until(lambda: bool(proxy._choices))
        proxy._choices[KEY.origin]._orders[KEY.policy] = [silent, silent, at]
        connected = await proxy._dial(proxy.gates[KEY], "127.0.0.1")
        assert connected is not None
        connected.close()
    assert asked[1:] == [0.25, 0.5, 1.0]  # the first is until() above
    assert proxy.totals.retries == 2


async def test_a_sticky_client_moves_off_a_backend_that_refuses(proxy: Forwarder) -> None:
    async with server(echo) as at:
        gone = refusing()
        proxy.offer({KEY: Way((gone, at), affinity=60)}, {})
        for _ in range(4):
            assert await ask(proxy.ports[KEY], b"x") == b"x"
        assert proxy.totals.retries <= 1


async def test_nobody_there_is_a_reset(proxy: Forwarder) -> None:
    proxy.offer({KEY: Way((refusing(),))}, {})
    with pytest.raises(ConnectionResetError):
        await ask(proxy.ports[KEY], b"x")
    assert proxy.totals.failures == 1


async def test_no_descriptor_left_is_one_clients_trouble(proxy: Forwarder, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(echo) as at:
        proxy.offer({KEY: Way((at,))}, {})

        def full(_family: int, _kind: int) -> socket.socket:
            raise OSError(errno.EMFILE, "too many open files")

        with monkeypatch.context() as none_left:
            none_left.setattr(proxy, "opened", full)
            with pytest.raises(ConnectionResetError):
                await ask(proxy.ports[KEY], b"x")
        assert await ask(proxy.ports[KEY], b"y") == b"y"


async def test_a_slow_reader_holds_its_sender_back_and_nobody_else(proxy: Forwarder) -> None:
    sent = 0
    ended = asyncio.Event()

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while not ended.is_set():
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16
        writer.close()

    async with server(pour) as at, server(echo) as other:
        proxy.offer({KEY: Way((at,))}, {})
        with socket.create_connection(("127.0.0.1", proxy.ports[KEY])) as lazy:
            before = -1
            async with asyncio.timeout(LIMIT):
                while sent != before:
                    before = sent
                    await asyncio.sleep(0.2)  # what is on its way settles in the kernel's queues
            assert sent < 64 << 20
            rests = [len(pump._rest) for connection in proxy.live for pump in connection._pumps]
            assert sum(rests) <= 256 << 10, "one chunk at most is kept"
            second = WayKey("default/other", "TCP", "Cluster")
            proxy.offer({KEY: Way((at,)), second: Way((other,))}, {})
            assert await ask(proxy.ports[second], b"me too") == b"me too"
            ended.set()
            lazy.setblocking(False)
        await until(lambda: not proxy.live)


async def test_a_reset_is_handed_on_as_one(proxy: Forwarder) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with server(reset) as at:
        proxy.offer({KEY: Way((at,))}, {})
        with pytest.raises(ConnectionResetError):
            await ask(proxy.ports[KEY], b"x")


async def test_no_socket_is_left_behind(proxy: Forwarder) -> None:
    async with server(echo) as at:
        proxy.offer({KEY: Way((at,)), DNS: Way((at,))}, {})
        await ask(proxy.ports[KEY], b"warm")
        await until(lambda: not proxy.live)
        before = descriptors()
        await asyncio.gather(*(ask(proxy.ports[KEY], b"x" * 100_000) for _ in range(100)))
        for _ in range(20):  # clients that leave at once
            socket.create_connection(("127.0.0.1", proxy.ports[KEY])).close()
        await until(lambda: not proxy.live and descriptors() <= before)


async def test_connections_outlive_their_way_and_new_ones_are_refused(proxy: Forwarder) -> None:
    async with server(echo) as at:
        proxy.offer({KEY: Way((at,))}, {})
        port = proxy.ports[KEY]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: bool(proxy.live))
        proxy.withdraw({})
        await asyncio.sleep(0)
        writer.write(b"still there")
        writer.write_eof()
        assert await reader.read(-1) == b"still there"
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await ask(port, b"x")


async def test_a_way_has_the_same_port_again_and_two_ways_never_share_one(
    proxy: Forwarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = WayKey("default/other", "TCP", "Cluster")
    monkeypatch.setattr(module, "PORTS", module.PORTS[:3])
    proxy.offer({KEY: Way((("127.0.0.1", 1),)), other: Way((("127.0.0.1", 1),))}, {})
    ports = proxy.ports
    assert ports[KEY] != ports[other]
    again = Forwarder(4, socket.socket, SystemClock())  # a successor, while the first still lives
    again.offer({other: Way((("127.0.0.1", 1),)), KEY: Way((("127.0.0.1", 1),))}, ports)
    assert again.ports == ports
    again.close()


async def test_a_node_port_is_held_and_seen(proxy: Forwarder) -> None:
    held = proxy.hold("TCP", 0)
    port = held.getsockname()[1]
    process = await asyncio.create_subprocess_exec("ss", "-ltnH", stdout=asyncio.subprocess.PIPE)
    listed, _ = await process.communicate()
    assert f"0.0.0.0:{port} " in listed.decode()
    with socket.socket() as somebody, pytest.raises(OSError, match="in use"):
        somebody.bind(("0.0.0.0", port))
    held.close()


class Upper(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.peers: set[tuple[str, int]] = set()

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self.peers.add(peer)
        self.transport.sendto(data.upper(), peer)


@contextlib.asynccontextmanager
async def datagrams() -> AsyncIterator[tuple[tuple[str, int], Upper]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Upper, ("127.0.0.1", 0))
    yield transport.get_extra_info("sockname"), protocol
    transport.close()


async def exchange(client: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT):
        await loop.sock_sendall(client, data)
        return await loop.sock_recv(client, 100)


def udp_client(port: int, address: str = "127.0.0.1") -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setblocking(False)
    client.connect((address, port))
    return client


async def test_datagrams_of_a_client_go_to_one_backend_and_find_back(proxy: Forwarder) -> None:
    async with datagrams() as (at, one), datagrams() as (other, two):
        proxy.offer({DNS: Way((at, other))}, {})
        with udp_client(proxy.ports[DNS]) as mine, udp_client(proxy.ports[DNS]) as yours:
            for number in range(3):
                assert await exchange(mine, b"m%d" % number) == b"M%d" % number
                assert await exchange(yours, b"y%d" % number) == b"Y%d" % number
        assert len(one.peers) == len(two.peers) == 1


async def test_answers_leave_from_the_address_that_was_sent_to(proxy: Forwarder) -> None:
    """Seen when packets were led to another address than the one of the interface they came in by: all answers lost."""
    async with datagrams() as (at, _):
        proxy.offer({DNS: Way((at,))}, {})
        with udp_client(proxy.ports[DNS], "127.0.0.77") as client:
            assert await exchange(client, b"a") == b"A"


async def test_datagrams_leave_a_backend_that_goes_or_refuses(proxy: Forwarder) -> None:
    async with datagrams() as (at, _), datagrams() as (other, two):
        proxy.offer({DNS: Way((at,))}, {})
        with udp_client(proxy.ports[DNS]) as client:
            await exchange(client, b"a")
            proxy.offer({DNS: Way((other,), others=(at,))}, {})
            await exchange(client, b"b")
            assert not two.peers, "one that still serves keeps what it has"
            proxy.offer({DNS: Way((other,))}, {})
            await exchange(client, b"c")
            assert len(two.peers) == 1
        refused = refusing()
        proxy.offer({DNS: Way((refused, other))}, {})
        with udp_client(proxy.ports[DNS]) as client:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(LIMIT):
                while True:  # the refusal is known with the second datagram
                    await loop.sock_sendall(client, b"d")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            assert await loop.sock_recv(client, 100) == b"D"
                            break


class HandClock(SystemClock):
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time


async def test_quiet_datagram_clients_are_given_up() -> None:
    clock = HandClock()
    proxy = Forwarder(4, socket.socket, clock)
    task = asyncio.ensure_future(proxy.run())
    await asyncio.sleep(0)
    async with datagrams() as (at, _):
        proxy.offer({DNS: Way((at,))}, {})
        await until(lambda: proxy.gates[DNS].datagrams is not None)
        sessions = proxy.gates[DNS].datagrams
        assert sessions is not None
        with udp_client(proxy.ports[DNS]) as client:
            await exchange(client, b"a")
            clock.time = 29.0
            sessions.expire()
            assert len(sessions) == 1
            clock.time = 31.0
            sessions.expire()
            assert len(sessions) == 0
            assert await exchange(client, b"b") == b"B", "the next datagram begins anew"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    proxy.close()
