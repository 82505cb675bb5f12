"""Pods by routes of their own instead of a bridge: who sees whom as whom, host ports, and what no pod has."""

from typing import Any

import pytest
from tests.ports.node.crossing import everyone_sees_everyone

from clew.kernel.netlink import Netlink

pytestmark = pytest.mark.root

ROUTED = {"network": {"links": "routed"}}


def test_everyone_sees_everyone(dual_lab: Any, tools: Any) -> None:
    one, two = dual_lab.node(1), dual_lab.node(2)
    for node in (one, two):
        node.start(**ROUTED)
    a, b, c = one.pod("a"), one.pod("b"), two.pod("c")
    everyone_sees_everyone(dual_lab, tools, one, two, a, c)
    for at, _ in enumerate(dual_lab.families):
        assert tools.seen_source(a.ns, b.ns, b.ips[at]) == a.ips[at], "neighbours"
        assert tools.seen_source(one.ns, a.ns, a.ips[at]) in one.own_ips(), "the node and its own pod"
        assert tools.seen_source(a.ns, one.ns, one.addresses[at].partition("/")[0]) == a.ips[at], "and back"
    with Netlink(one.ns) as kernel:
        assert kernel.link("cbr0") is None
        assert len([link for link in kernel.links() if link.group == 147]) == 2, "one link a pod, and nothing else"
    b.detach()
    assert not tools.connects(a.ns, b.ips[0], 80), "refused at once, not sent to the default route"


def test_links_and_tunnels_go_together(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(network={"links": "routed", "backend": "vxlan"})
    a, c = one.pod("a"), two.pod("c")
    everyone_sees_everyone(lab, tools, one, two, a, c)
    one.stop()
    assert tools.seen_source(c.ns, a.ns, a.ips[0]) == c.ips[0], "without an agent too"
    one.start(network={"links": "routed", "backend": "vxlan"})
    assert tools.seen_source(c.ns, a.ns, a.ips[0]) == c.ips[0]
