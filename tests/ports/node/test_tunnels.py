"""Pods of different nodes through tunnels: who sees whom as whom, what the network between the nodes gets to see."""

import errno
import socket
from typing import Any

import pytest
from tests.ports.node.crossing import addresses, everyone_sees_everyone, wire

from clew.kernel import netns
from clew.kernel.netlink import Delete, Link, Netlink
from clew.kernel.sysctl import Sysctl

pytestmark = pytest.mark.root

VXLAN = {"network": {"backend": "vxlan"}}
CROSS = {"network": {"backend": "vxlan", "crossSubnet": True}}


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
        assert (addresses(one)[at], addresses(two)[at], "vxlan") in seen
    with Netlink(a.ns) as kernel:
        link = kernel.link("eth0")
        assert link is not None
        assert link.mtu == 1500 - (70 if 6 in any_lab.families else 50)


def test_a_strict_filter_by_the_reverse_path_drops_nothing(lab: Any, tools: Any) -> None:
    """Red Hat's default. A node's own address comes in by the tunnel: the rule of pods' packets leads back there."""
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        Sysctl(node.ns).write({f"net.ipv4.conf.{each}.rp_filter": 1 for each in ("all", "default")})
        node.start(**VXLAN)
    a, c = one.pod("a"), two.pod("c")
    everyone_sees_everyone(lab, tools, one, two, a, c)


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
    assert not any(carrier for _, _, carrier in near), "as it is inside a subnet"
    for at, _ in enumerate(dual_lab.families):
        assert (a.ips[at], c.ips[at], "") in near
        assert (addresses(one)[at], addresses(far)[at], "vxlan") in away
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
        listener.settimeout(30)
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


@pytest.mark.parametrize("settings", [{}, VXLAN], ids=["host-gw", "vxlan"])
def test_a_node_that_moves_is_followed_and_its_neighbours_are_left_alone(
    lab: Any, tools: Any, settings: dict[str, Any]
) -> None:
    one, two, three = lab.node(1), lab.node(2), lab.node(3)
    one.start(**settings)
    tunnelled = bool(settings)
    with Netlink(one.ns) as kernel:

        def ways() -> dict[str, str]:
            return {route.destination: route.via for route in kernel.routes(proto=147, table=254)}

        def ends() -> set[str]:
            return {entry.remote for entry in kernel.fdb() if entry.dev == "vxlan.clew" and entry.remote}

        tools.eventually(lambda: ways() == {two.cidrs[0]: "172.30.0.12", three.cidrs[0]: "172.30.0.13"}, "both")
        two.addresses = ("172.30.0.77/24",)
        two.publish()
        tools.eventually(lambda: ways() == {two.cidrs[0]: "172.30.0.77", three.cidrs[0]: "172.30.0.13"}, "it moved")
        tools.eventually(lambda: ends() == ({"172.30.0.77", "172.30.0.13"} if tunnelled else set()), "and its end too")
