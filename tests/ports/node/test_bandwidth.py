"""How fast a pod receives and sends when somebody limited it: real packets, counted where they arrive."""

import socket
import struct
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clew.kernel import netns
from clew.kernel.netlink import Delete, Link, Netlink

pytestmark = pytest.mark.root

IN, OUT = 40_000_000, 16_000_000  # bits a second
SECONDS = 1.2
TCP_INFO, RECEIVED = 11, 128  # the option, and where in it the kernel counts the bytes that have arrived (u64)
RATES = {"bandwidth": {"ingressRate": IN, "ingressBurst": 400_000, "egressRate": OUT, "egressBurst": 400_000}}


def speed(client: Path, server: Path, address: str) -> float:
    """Bits a second that arrive of what a client sends as fast as it may, after the burst has gone through."""
    with netns.socket_in(server, socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        with netns.socket_in(client, socket.AF_INET, socket.SOCK_STREAM) as sender:
            sender.settimeout(30)
            sender.connect((address, listener.getsockname()[1]))
            accepted, _ = listener.accept()
            stop = threading.Event()
            thread = threading.Thread(target=_pour, args=(sender, stop))
            thread.start()
            try:
                with accepted:
                    return _arrived(accepted)
            finally:
                stop.set()
                thread.join(60)


def _pour(sender: socket.socket, stop: threading.Event) -> None:
    data = bytes(65536)
    try:
        while not stop.is_set():
            sender.send(data)
    except OSError:  # the other end has counted enough
        pass


def _arrived(accepted: socket.socket) -> float:
    """By the kernel's own count: what lay there while others ran would all be counted to the moment it is read in."""
    accepted.settimeout(30)
    begin = time.monotonic()
    while time.monotonic() < begin + 0.3:
        accepted.recv(65536)
    start, before = time.monotonic(), _count(accepted)
    while time.monotonic() < start + SECONDS:
        accepted.recv(65536)
    count = _count(accepted) - before
    return count * 8 / (time.monotonic() - start)


def _count(accepted: socket.socket) -> int:
    info = accepted.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 256)
    (found,) = struct.unpack_from("=Q", info, RECEIVED)
    return int(found)


@pytest.mark.parametrize("links", ["bridge", "routed"])
def test_a_pod_is_as_fast_as_it_may_be_each_way(lab: Any, tools: Any, links: str) -> None:
    """Never faster; and as fast as that once, where the machine has time for both ends."""
    node = lab.node(1)
    node.start(network={"links": links})
    pod, free = node.bare_pod("slow"), node.pod("free")
    pod.attach(runtimeConfig=RATES)
    for peer, address in ((free.ns, free.ips[0]), (node.ns, node.addresses[0].partition("/")[0])):
        for limit, way in ((IN, (peer, pod.ns, pod.ips[0])), (OUT, (pod.ns, peer, address))):
            tools.eventually(partial(_just, limit, way), f"{limit} bits a second", 2)
    tools.eventually(lambda: speed(node.ns, free.ns, free.ips[0]) > 5 * IN, "nobody else is slowed down", 2)
    assert node.cni("CHECK", "slow", pod.ns, prevResult=pod.result)[0] == 0
    with Netlink(node.ns) as kernel:
        assert len([link for link in kernel.links() if link.group == 149]) == 1
        pod.detach()
        assert [link for link in kernel.links() if link.group == 149] == []


def _just(limit: int, way: tuple[Path, Path, str]) -> bool:
    found = speed(*way)
    assert found < 1.1 * limit
    return found > 0.3 * limit


def test_a_rate_that_somebody_took_away_comes_back(lab: Any, tools: Any) -> None:
    node = lab.node(1)
    node.start()
    pod = node.bare_pod("slow")
    pod.attach(runtimeConfig=RATES)
    with Netlink(node.ns) as kernel:
        (ifb,) = [link for link in kernel.links() if link.group == 149]
        kernel.request([Delete(Link(ifb.name))])
        said = node.cni("CHECK", "slow", pod.ns, prevResult=pod.result)
        assert said[1].get("code", 0) in {0, 103}, "it is put back at once, perhaps before CHECK looks"
        tools.eventually(lambda: kernel.link(ifb.name) is not None, "the limit is back")
    assert speed(pod.ns, node.ns, node.addresses[0].partition("/")[0]) < 1.1 * OUT
