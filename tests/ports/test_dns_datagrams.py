"""A DNS server's socket on every address answers from the one that was asked, in both families."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.kernel import netns
from clew.servers.dns.datagrams import Datagrams, Peer
from clew.servers.dns.quick import Quick

pytestmark = pytest.mark.root
QUESTION = b"\x12\x34" + bytes(10) + b"question"


@pytest.fixture
def ns(tmp_path: Path) -> Iterator[Path]:
    """A namespace whose loopback has two more addresses a family."""
    path = tmp_path / "ns"
    netns.create(path)
    try:
        enter = ("nsenter", f"--net={path}", "ip")
        subprocess.run([*enter, "link", "set", "lo", "up"], check=True)
        for address in ("192.0.2.1/32", "192.0.2.53/32", "2001:db8::1/128", "2001:db8::53/128"):
            subprocess.run([*enter, "address", "add", address, "dev", "lo"], check=True)
        yield path
    finally:
        netns.delete(path)


@pytest.mark.parametrize(
    ("family", "wild", "asked"),
    [(socket.AF_INET, "0.0.0.0", "192.0.2.53"), (socket.AF_INET6, "::", "2001:db8::53")],
)
@pytest.mark.parametrize("late", [False, True])
async def test_answers_come_from_the_address_that_was_asked(
    ns: Path, family: socket.AddressFamily, wild: str, asked: str, *, late: bool
) -> None:
    """In IPv6 the interface stands behind the address; zeroing it as in IPv4 spoilt the address: no answer left."""
    server = netns.socket_in(ns, family, socket.SOCK_DGRAM)
    client = netns.socket_in(ns, family, socket.SOCK_DGRAM)
    server.setblocking(False)
    client.setblocking(False)
    server.bind((wild, 5353))
    seen: list[Peer] = []

    async def later(raw: bytes) -> bytes:
        return raw.upper()

    def answer(raw: bytes, peer: Peer) -> bytes | asyncio.Future[bytes]:
        seen.append(peer)
        return asyncio.ensure_future(later(raw)) if late else raw.upper()

    datagrams = Datagrams(server, Quick(), answer, lambda *_: None)
    datagrams.start()
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendto(client, QUESTION, (asked, 5353))
        async with asyncio.timeout(30):
            reply, source = await loop.sock_recvfrom(client, 512)
    finally:
        await datagrams.stop()
        client.close()
    assert (reply, source[0]) == (QUESTION.upper(), asked)
    assert len(seen) == 1
