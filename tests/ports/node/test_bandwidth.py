"""How fast a pod receives and sends when somebody limited it: real packets, counted where they arrive."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from clew.kernel import netns
from clew.kernel.netlink import Delete, Link, Netlink

pytestmark = pytest.mark.root

IN, OUT = 40_000_000, 16_000_000  # bits a second
SECONDS = 1.2
RATES = {"bandwidth": {"ingressRate": IN, "ingressBurst": 400_000, "egressRate": OUT, "egressBurst": 400_000}}


def speed(client: Path, server: Path, address: str) -> float:
    """Bits a second that arrive of what a client sends as fast as it may, after the burst has gone through."""
    with netns.socket_in(server, socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        with netns.socket_in(client, socket.AF_INET, socket.SOCK_STREAM) as sender:
            sender.settimeout(5)
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
                thread.join(10)


def _pour(sender: socket.socket, stop: threading.Event) -> None:
    data = bytes(65536)
    try:
        while not stop.is_set():
            sender.send(data)
    except OSError:  # the other end has counted enough
        pass


def _arrived(accepted: socket.socket) -> float:
    accepted.settimeout(5)
    begin = time.monotonic()
    while time.monotonic() < begin + 0.3:
        accepted.recv(65536)
    start, count = time.monotonic(), 0
    while (now := time.monotonic()) < start + SECONDS:
        count += len(accepted.recv(65536))
    return count * 8 / (now - start)


@pytest.mark.parametrize("links", ["bridge", "routed"])
def test_a_pod_is_as_fast_as_it_may_be_each_way(lab: Any, links: str) -> None:
    node = lab.node(1)
    node.start(network={"links": links})
    pod, free = node.bare_pod("slow"), node.pod("free")
    pod.attach(runtimeConfig=RATES)
    for peer, address in ((free.ns, free.ips[0]), (node.ns, node.addresses[0].partition("/")[0])):
        received, sent = speed(peer, pod.ns, pod.ips[0]), speed(pod.ns, peer, address)
        assert 0.3 * IN < received < 1.1 * IN
        assert 0.3 * OUT < sent < 1.1 * OUT
    assert speed(node.ns, free.ns, free.ips[0]) > 5 * IN, "nobody else is slowed down"
    assert node.cni("CHECK", "slow", pod.ns, prevResult=pod.result)[0] == 0
    with Netlink(node.ns) as kernel:
        assert len([link for link in kernel.links() if link.group == 149]) == 1
        pod.detach()
        assert [link for link in kernel.links() if link.group == 149] == []


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
