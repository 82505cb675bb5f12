"""One datagram from a pod to a pod of another node, captured between nodes: for the tests of what the page shows."""

import socket
from pathlib import Path
from typing import Any

from tests.ports.node.conftest import mac_of, made_lab
from tests.ports.node.crossing import wire
from tests.ports.node.headers import DATA, accept, shown, told
from tests.ports.node.secret import KEYS, give

from clew.kernel import netns

NAMES = [
    f"{backend}, IPv{family}" for backend in ("host-gw", "vxlan", "ipip", "wireguard", "ipsec") for family in (4, 6)
]
BACKENDS = [name for name in NAMES if name != "ipip, IPv6"]  # which travels as in host-gw
HERE = [name for name in BACKENDS if name.startswith(("host-gw", "vxlan"))]
ELSEWHERE = [name for name in BACKENDS if name not in HERE]  # what this machine's kernel may lack
FROM, TO = 1000, 2000  # ports
ICMPV6, LEAST = 58, 14 + 20 + 8 + 4


def held(root: Path, tools: Any, name: str) -> None:
    """AssertionError where the page shows something else."""
    backend, _, family = name.partition(", IPv")
    with made_lab(root, (int(family),)) as lab:
        found = told(_captured(lab, tools, backend, int(family)))
    accept(name, found)
    assert shown(name) == found, f"CLEW_ACCEPT=1 writes it into the page:\n{found}"


def _captured(lab: Any, tools: Any, backend: str, family: int) -> bytes:
    give(lab, KEYS)
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(network={"backend": backend})
    a, c = one.pod("a"), two.pod("c")
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with (
        wire(lab.fabric) as between,
        netns.socket_in(c.ns, kind, socket.SOCK_DGRAM) as listener,
        netns.socket_in(a.ns, kind, socket.SOCK_DGRAM) as sender,
    ):
        listener.bind((c.ips[0], TO))
        listener.settimeout(0.3)
        sender.bind((a.ips[0], FROM))

        def arrives() -> bool:
            between.frames()
            try:
                sender.sendto(DATA, (c.ips[0], TO))
                return listener.recv(100) == DATA
            except OSError:
                return False

        tools.eventually(arrives, "the datagram arrives")
        tools.eventually(arrives, "and once more, when everybody knows everybody")
        frames = between.frames()
    ends = bytes.fromhex(mac_of(two.name).replace(":", "")) + bytes.fromhex(mac_of(one.name).replace(":", ""))
    return next(frame for frame in frames if frame[:12] == ends and _carries(frame))


def _carries(frame: bytes) -> bool:
    """Not what only looks for a neighbour or keeps a session."""
    neighbours = frame[12:14] == b"\x86\xdd" and frame[20] == ICMPV6
    return frame[12:14] in {b"\x08\x00", b"\x86\xdd"} and not neighbours and len(frame) >= LEAST
