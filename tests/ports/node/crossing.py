"""What crosses the fabric between nodes, and who sees whom as whom: for the tests of every way between nodes."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clew.kernel import netns

ETH_ALL = socket.htons(3)
UDP, IPIP = 17, 4
PORTS = {8472: "vxlan", 51820: "wireguard"}


class Wire:
    """What crosses the fabric: (source, destination, what it is carried in) of every IP packet seen."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def seen(self) -> set[tuple[str, str, str]]:
        found = set()
        while True:
            try:
                frame = self._listener.recv(2048)
            except BlockingIOError:
                return found
            if (packet := _outer(frame)) is not None:
                found.add(packet)


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
    if protocol == IPIP:
        return "ipip"
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
