"""Addresses from IPPools by the real agents: blocks, a borrowed address, and packets to it over each kind of way."""

from typing import Any

import pytest

from clew.kernel.netlink import Netlink

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]

POOLS = {"tiny4": ("10.88.0.0/30", 30), "tiny6": ("fd00:88::/126", 126)}
WAYS: dict[str, dict[str, Any]] = {"host-gw": {}, "vxlan": {"backend": "vxlan"}, "bgp": {"backend": "bgp"}}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"network": {**WAYS[request.param], "links": "routed", "ipam": {"type": "pools"}}}


def test_a_borrowed_address_is_found_from_everywhere(dual_lab: Any, tools: Any, way: dict[str, Any]) -> None:
    for name, (cidr, size) in POOLS.items():
        dual_lab.api.put("ippools", name, {"spec": {"cidr": cidr, "blockSize": size, "natOutgoing": True}})
    one, two = dual_lab.node(1), dual_lab.node(2)
    one.start(**way)
    two.start(**way)
    a, b = one.pod("a"), one.pod("b")
    c = two.pod("c")
    assert [each["address"].partition("/")[2] for each in c.result["ips"]] == ["32", "128"]
    assert len({*a.ips, *b.ips, *c.ips}) == 6
    for at, family in enumerate(dual_lab.families):
        listener = tools.server(c.ns, six=family == 6, port=80)
        with listener:
            for client in (a.ns, one.ns, two.ns):
                tools.eventually(
                    lambda ns=client, at=at: tools.connects(ns, c.ips[at], 80), f"IPv{family} from {client}"
                )
        assert tools.seen_source(a.ns, c.ns, c.ips[at]) == a.ips[at]
        assert tools.seen_source(c.ns, b.ns, b.ips[at]) == c.ips[at], "and back, as it is"
    d = two.pod("d")
    e = two.bare_pod("e")
    status, error = two.cni("ADD", "e", e.ns)
    assert (status, error["code"]) == (1, 101)
    assert "no free address in IPPool tiny4 (10.88.0.0/30)" in error["msg"]
    c.detach()
    e.attach()
    assert e.ips == c.ips, "the only one that is free"
    for pod in (a, b, d, e):
        pod.detach()
    with Netlink(one.ns) as kernel:
        gone = lambda: not [each for each in kernel.routes() if each.destination.endswith("/32") and each.via]  # noqa: E731
        tools.eventually(gone, "nobody borrows any more")


def test_a_node_whose_pods_were_there_before_the_pools(lab: Any, tools: Any) -> None:
    """From podCIDRs to pools with pods running: they keep their addresses, and other nodes find them by blocks."""
    lab.api.put("ippools", "all", {"spec": {"cidr": "10.244.0.0/16", "natOutgoing": True}})
    one, two = lab.node(1), lab.node(2)
    one.start()
    old = one.pod("old")
    one.stop()
    pools = {"network": {"links": "routed", "ipam": {"type": "pools"}}}
    one.start(**pools)
    tools.eventually(lambda: lab.api.names("ipamblocks"), "the old pod's address is in a block")
    two.start(**pools)
    new, other = one.pod("new"), two.pod("other")
    assert old.ips[0] not in {new.ips[0], other.ips[0]}
    tools.eventually(lambda: tools.seen_source(other.ns, old.ns, old.ips[0]) == other.ips[0], "the old one is found")
    assert tools.seen_source(new.ns, old.ns, old.ips[0]) == new.ips[0], "on the bridge, from a link of its own"
    assert tools.seen_source(old.ns, other.ns, other.ips[0]) == old.ips[0]
    old.detach()
    with Netlink(one.ns) as kernel:
        tools.eventually(lambda: kernel.link("cbr0") is None, "nobody needs the bridge any more", 3)
