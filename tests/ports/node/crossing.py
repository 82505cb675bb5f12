"""What crosses the fabric between nodes, and who sees whom as whom: for the tests of every way between nodes."""

import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from clew.kernel import netns

ETH_ALL = socket.htons(3)
SO_RCVBUFFORCE = 33
UDP, IPIP, ESP = 17, 4, 50
PORTS = {8472: "vxlan", 51820: "wireguard"}


class Wire:
    """What crosses the fabric: (source, destination, what it is carried in) of every IP packet seen."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def seen(self) -> set[tuple[str, str, str]]:
        return {packet for frame in self.frames() if (packet := _outer(frame)) is not None}

    def frames(self) -> list[bytes]:
        """All since it was asked last, as they were."""
        found = []
        while True:
            try:
                found.append(self._listener.recv(2048))
            except BlockingIOError:
                return found


def _outer(frame: bytes) -> tuple[str, str, str] | None:
    kind = frame[12:14]
    if kind == b"\x08\x00":
        source, target = (socket.inet_ntoa(frame[at : at + 4]) for at in (26, 30))
        return source, target, _carrier(frame[23], frame[34:])
    if kind == b"\x86\xdd":
        source, target = (socket.inet_ntop(socket.AF_INET6, frame[at : at + 16]) for at in (22, 38))
        return source, target, _carrier(frame[20], frame[54:])
    return None


def _carrier(protocol: int, payload: bytes) -> str:
    """The tunnel's name; "" where the packet travels as it is."""
    if protocol in {IPIP, ESP}:
        return "ipip" if protocol == IPIP else "ipsec"
    return PORTS.get(struct.unpack_from("!H", payload, 2)[0], "") if protocol == UDP else ""


@contextmanager
def wire(fabric: Path) -> Iterator[Wire]:
    with netns.socket_in(fabric, socket.AF_PACKET, socket.SOCK_RAW, ETH_ALL) as listener:
        listener.setblocking(False)
        yield Wire(listener)


def addresses(entry: Any) -> list[str]:
    return [address.partition("/")[0] for address in entry.addresses]


def everyone_sees_everyone(lab: Any, tools: Any, one: Any, two: Any, a: Any, c: Any) -> None:
    """Pods and nodes of two nodes, in both directions, as they are."""
    for at, _ in enumerate(lab.families):
        node_one, node_two = addresses(one)[at], addresses(two)[at]
        assert tools.seen_source(a.ns, c.ns, c.ips[at]) == a.ips[at], "pod to pod"
        assert tools.seen_source(c.ns, a.ns, a.ips[at]) == c.ips[at], "and back"
        assert tools.seen_source(two.ns, a.ns, a.ips[at]) == node_two, "a node to another's pod"
        assert tools.seen_source(a.ns, two.ns, node_two) == a.ips[at], "a pod to another node"
        assert tools.seen_source(one.ns, two.ns, node_two) == node_one, "node to node"


def answers(tools: Any, a: Any, c: Any) -> bool:
    """Whether pod c answers pod a by now, and sees it as itself."""
    try:
        return bool(tools.seen_source(a.ns, c.ns, c.ips[0], 5) == a.ips[0])
    except OSError:  # unreachable, or no answer in time
        return False


class Stream:
    """Numbered datagrams from one namespace to another, one every few milliseconds, until it is ended."""

    def __init__(self, source: Path, target: Path, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = netns.socket_in(target, family, socket.SOCK_DGRAM)
        self._listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)  # who reads late has lost nothing
        self._listener.bind((address, 0))
        self._listener.settimeout(1)
        self._sender = netns.socket_in(source, family, socket.SOCK_DGRAM)
        self._sender.connect(self._listener.getsockname())
        self._end = threading.Event()
        self._arrived: dict[int, float] = {}
        self._sent: list[float] = []
        self._asked_at: int | None = None
        self._threads = [threading.Thread(target=each) for each in (self._receive, self._send)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)
        self._sender.close()
        self._listener.close()

    @property
    def lost(self) -> int:
        """Of those that were sent longer ago than any packet takes."""
        old = time.monotonic() - 0.2
        return sum(1 for number, at in enumerate(self._sent) if at < old and number not in self._arrived)

    @property
    def silence(self) -> float:
        """Seconds of the longest pause between two that arrived."""
        times = sorted(self._arrived.values())
        return max((after - before for before, after in itertools.pairwise(times)), default=float("inf"))

    def more(self, number: int) -> bool:
        """Whether so many have arrived since this was asked for the first time."""
        self._asked_at = len(self._arrived) if self._asked_at is None else self._asked_at
        found = len(self._arrived) >= self._asked_at + number
        self._asked_at = None if found else self._asked_at
        return found

    def _send(self) -> None:
        while not self._end.wait(0.005):
            self._sent.append(time.monotonic())
            with suppress(OSError):  # a route that is gone for a moment, and what ICMP says of it
                self._sender.send((len(self._sent) - 1).to_bytes(4))

    def _receive(self) -> None:
        while not self._end.is_set():
            with suppress(TimeoutError):
                self._arrived[int.from_bytes(self._listener.recv(64))] = time.monotonic()
