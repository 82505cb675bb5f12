"""Every way between nodes that this kernel has, by the bridge and by routed links, in both families."""

from functools import partial
from typing import Any

import pytest
from tests.ports.node.promises import keeps_them_all

from clew.dataplane.netlink.objects import BEHIND
from clew.kernel.netlink import Netlink

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]


def told(node: Any, other: Any) -> bool:
    """BIRD's routes alone lead to the other's pods."""
    with Netlink(node.ns) as kernel:
        plain = [route for route in kernel.routes(proto=147, table=254) if route.kind == "unicast"]
        ours = {route.destination for route in plain if route.metric != BEHIND}
        return {route.destination for route in kernel.routes(proto=12)} == {*other.cidrs} and not ours & {*other.cidrs}


@pytest.mark.parametrize("links", ["bridge", "routed"])
@pytest.mark.parametrize(("backend", "overhead"), [("host-gw", 0), ("vxlan", 70), ("bgp", 0), ("ospf", 0)])
def test_every_promise(dual_lab: Any, tools: Any, backend: str, overhead: int, links: str) -> None:
    nodes = [dual_lab.node(1), dual_lab.node(2)]
    for node in nodes:
        node.start(network={"backend": backend, "links": links})
    if backend in ("bgp", "ospf"):
        for node, other in (nodes, reversed(nodes)):
            tools.eventually(partial(told, node, other), "the protocol leads there by itself", 3)
    keeps_them_all(dual_lab, tools, nodes, backend, overhead)
