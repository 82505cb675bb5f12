"""Pods of different nodes through tunnels: who sees whom as whom, what the network between the nodes gets to see."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clew.kernel import netns
from clew.kernel.netlink import Delete, Link, Netlink

pytestmark = pytest.mark.root

VXLAN = {"network": {"backend": "vxlan"}}
CROSS = {"network": {"backend": "vxlan", "crossSubnet": True}}
ETH_ALL = socket.htons(3)
UDP, PORT = 17, 8472


class Wire:
    """What crosses the fabric: (source, destination, whether in a VXLAN packet) of every IP packet seen."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def seen(self) -> set[tuple[str, str, bool]]:
        found = set()
        while True:
            try:
                frame = self._listener.recv(2048)
            except BlockingIOError:
                return found
            if (packet := _outer(frame)) is not None:
                found.add(packet)


def _outer(frame: bytes) -> tuple[str, str, bool] | None:
    kind = frame[12:14]
    if kind == b"\x08\x00":
        source, target = (socket.inet_ntoa(frame[at : at + 4]) for at in (26, 30))
        return source, target, frame[23] == UDP and struct.unpack_from("!H", frame, 36)[0] == PORT
    if kind == b"\x86\xdd":
        source, target = (socket.inet_ntop(socket.AF_INET6, frame[at : at + 16]) for at in (22, 38))
        return source, target, frame[20] == UDP and struct.unpack_from("!H", frame, 56)[0] == PORT
    return None


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


def test_vxlan_carries_pods_as_they_are(any_lab: Any, tools: Any) -> None:
    one, two = any_lab.node(1), any_lab.node(2)
    for node in (one, two):
        node.start(**VXLAN)
    a, c = one.pod("a"), two.pod("c")
    with wire(any_lab.fabric) as between:
        everyone_sees_everyone(any_lab, tools, one, two, a, c)
        seen = between.seen()
    pods = {*a.ips, *c.ips}
    assert not {packet for packet in seen if pods & {packet[0], packet[1]}}, "no pod's address on the underlay"
    for at, _ in enumerate(any_lab.families):
        assert (addresses(one)[at], addresses(two)[at], True) in seen
    with Netlink(a.ns) as kernel:
        link = kernel.link("eth0")
        assert link is not None
        assert link.mtu == 1500 - (70 if 6 in any_lab.families else 50)


def test_vxlan_across_subnets_only(dual_lab: Any, tools: Any) -> None:
    dual_lab.subnet(1)
    one, two, far = dual_lab.node(1), dual_lab.node(2), dual_lab.node(3, subnet=1)
    for node in (one, two, far):
        node.start(**CROSS)
    a, c, d = one.pod("a"), two.pod("c"), far.pod("d")
    with wire(dual_lab.fabric) as between:
        everyone_sees_everyone(dual_lab, tools, one, two, a, c)
        near = between.seen()
        everyone_sees_everyone(dual_lab, tools, one, far, a, d)
        away = between.seen()
    assert not any(encapsulated for _, _, encapsulated in near), "as it is inside a subnet"
    for at, _ in enumerate(dual_lab.families):
        assert (a.ips[at], c.ips[at], False) in near
        assert (addresses(one)[at], addresses(far)[at], True) in away
    assert not {packet for packet in away if {*d.ips} & {packet[0], packet[1]}}, "the router knows no pods"


def test_a_packet_of_the_mtu_passes_and_a_larger_one_is_answered(lab: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(**VXLAN)
    a, c = one.pod("a"), two.pod("c")
    with (
        netns.socket_in(c.ns, socket.AF_INET, socket.SOCK_DGRAM) as listener,
        netns.socket_in(a.ns, socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        listener.bind((c.ips[0], 0))
        listener.settimeout(5)
        sender.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: DF on every packet
        sender.connect(listener.getsockname())
        sender.send(bytes(1450 - 28))
        assert len(listener.recv(2000)) == 1450 - 28
        with pytest.raises(OSError, match="Message too long") as refused:
            sender.send(bytes(1450 - 27))
        assert refused.value.errno == errno.EMSGSIZE


def test_the_backend_changes_and_nothing_of_the_old_one_stays(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(**VXLAN)
    a, c = one.pod("a"), two.pod("c")
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0]
    for node in (one, two):
        node.stop()
        node.start()
    tools.eventually(lambda: _plain(one) and _plain(two), "host-gw on both nodes")
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0]
    for node in (one, two):
        node.stop()
        node.start(**VXLAN)
    tools.eventually(lambda: not _plain(one) and not _plain(two), "vxlan on both nodes")
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0]


def _plain(node: Any) -> bool:
    """No device, rule or table of tunnels, and the pods' routes lead over the underlay."""
    with Netlink(node.ns) as kernel:
        routes = kernel.routes(proto=147)
        rules = [rule for rule in kernel.rules() if rule.proto == 147]
        return kernel.link("vxlan.clew") is None and not rules and [route.dev for route in routes] == ["eth0"]


def test_what_somebody_takes_away_comes_back(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(**VXLAN)
    a, c = one.pod("a"), two.pod("c")
    with Netlink(one.ns) as kernel:
        kernel.request([Delete(Link("vxlan.clew"))])

        def whole() -> bool:
            entries = [entry for entry in kernel.fdb() if entry.dev == "vxlan.clew" and entry.remote]
            return bool(entries) and [route.dev for route in kernel.routes(proto=147, table=254)] == ["vxlan.clew"]

        tools.eventually(whole, "the tunnel is back with its entries and routes")
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0]


def test_nodes_come_and_go(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    one.start(**VXLAN)
    with Netlink(one.ns) as kernel:

        def ends() -> set[str]:
            return {entry.remote for entry in kernel.fdb() if entry.dev == "vxlan.clew" and entry.remote}

        tools.eventually(lambda: ends() == {"172.30.0.12"}, "the other node is entered")
        lab.api.put("nodes", two.name, None)
        tools.eventually(lambda: ends() == set(), "and forgotten")
        assert kernel.routes(proto=147) == []
        assert [entry for entry in kernel.neighbours() if entry.dev == "vxlan.clew"] == []
