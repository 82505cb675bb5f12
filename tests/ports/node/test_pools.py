"""Addresses from IPPools by the real agents: blocks, a borrowed address, and packets to it over each kind of way."""

from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.borrowing import everyone_finds_a_borrower, pools, share
from tests.ports.node.conftest import made_lab
from tests.ports.node.crossing import addresses, wire

from clew.kernel.netlink import Netlink

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]

WAYS: dict[str, dict[str, Any]] = {
    "host-gw": {}, "vxlan": {"backend": "vxlan"}, "bgp": {"backend": "bgp"}, "ospf": {"backend": "ospf"},
}  # fmt: skip


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return pools(**WAYS[request.param])


def test_a_borrowed_address_is_found_from_everywhere(dual_lab: Any, tools: Any, way: dict[str, Any]) -> None:
    share(dual_lab)
    one, two = dual_lab.node(1), dual_lab.node(2)
    one.start(**way)
    two.start(**way)
    everyone_finds_a_borrower(tools, one, two)


def test_across_subnets_and_without_ipv4(tmp_path: Path, tools: Any) -> None:
    """Encapsulated across subnets only, in a cluster that has one family."""
    with made_lab(tmp_path, (6,)) as lab:
        share(lab)
        lab.subnet(1)
        one, far = lab.node(1), lab.node(3, subnet=1)
        for node in (one, far):
            node.start(**pools(backend="vxlan", crossSubnet=True))
        with wire(lab.fabric) as between:
            everyone_finds_a_borrower(tools, one, far)
            assert (addresses(one)[0], addresses(far)[0], "vxlan") in between.seen()


def test_a_node_whose_pods_were_there_before_the_pools(lab: Any, tools: Any) -> None:
    """From podCIDRs to pools with pods running: they keep their addresses, and other nodes find them by blocks.

    Another node that takes from pools already gave its pods addresses which pods of this one had.
    """
    lab.api.put("ippools", "all", {"spec": {"cidr": "10.244.1.0/24", "natOutgoing": True}})
    one, two = lab.node(1), lab.node(2)
    one.start()
    two.start(**pools())
    old = one.pod("old")
    early = two.bare_pod("early")
    status, error = two.cni("ADD", "early", early.ns)
    assert (status, error["code"]) == (1, 101)
    assert "10.244.1.0/24 is in spec.podCIDRs of node node1, whose agent does not say that" in error["details"]
    assert lab.api.names("ipamblocks") == []
    one.stop()
    one.start(**pools())
    tools.eventually(lambda: lab.api.annotations(one.name).get("clew.dev/ipam") == "pools", "it says so")
    assert lab.api.names("ipamblocks"), "the old pod's address is in a block by then"
    tools.eventually(lambda: two.cni("ADD", "early", early.ns)[0] == 0, "now others may, too")
    new, other = one.pod("new"), two.pod("other")
    assert old.ips[0] not in {new.ips[0], other.ips[0]}
    tools.eventually(lambda: tools.seen_source(other.ns, old.ns, old.ips[0]) == other.ips[0], "the old one is found")
    assert tools.seen_source(new.ns, old.ns, old.ips[0]) == new.ips[0], "on the bridge, from a link of its own"
    assert tools.seen_source(old.ns, other.ns, other.ips[0]) == old.ips[0]
    old.detach()
    with Netlink(one.ns) as kernel:
        tools.eventually(lambda: kernel.link("cbr0") is None, "nobody needs the bridge any more", 3)
