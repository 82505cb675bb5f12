"""Two nodes share pools of four addresses, so one of them borrows: every packet to such an address finds its way.

Run over each way between nodes by tests/ports/node/test_pools.py.
"""

from typing import Any

from clew.kernel.netlink import Netlink

POOLS = {4: ("tiny4", "10.88.0.0/30", 30), 6: ("tiny6", "fd00:88::/126", 126)}


def share(lab: Any) -> None:
    """The pools of the lab's families."""
    for family in lab.families:
        name, cidr, size = POOLS[family]
        lab.api.put("ippools", name, {"spec": {"cidr": cidr, "blockSize": size, "natOutgoing": True}})


def pools(**network: Any) -> dict[str, Any]:
    """An agent's settings for them."""
    return {"network": {**network, "links": "routed", "ipam": {"type": "pools"}}}


def everyone_finds_a_borrower(tools: Any, one: Any, two: Any) -> None:
    """Pods of `one` first, so that the block is its own, and then of `two`, which borrows; then nobody any more."""
    lab = one.lab
    a, b = one.pod("a"), one.pod("b")
    c = two.pod("c")
    assert [each["address"].partition("/")[2] for each in c.result["ips"]] == [
        {4: "32", 6: "128"}[family] for family in lab.families
    ]
    assert len({*a.ips, *b.ips, *c.ips}) == 3 * len(lab.families)
    for at, family in enumerate(lab.families):
        with tools.server(c.ns, six=family == 6, port=80):
            for client in (a.ns, one.ns, two.ns):
                tools.eventually(
                    lambda ns=client, at=at: tools.connects(ns, c.ips[at], 80), f"IPv{family} from {client}", 3
                )
        assert tools.seen_source(a.ns, c.ns, c.ips[at]) == a.ips[at]
        assert tools.seen_source(c.ns, b.ns, b.ips[at]) == c.ips[at], "and back, as it is"
        assert tools.seen_source(two.ns, a.ns, a.ips[at]) == two.addresses[at].partition("/")[0], "a node's own, too"
    d = two.pod("d")
    e = two.bare_pod("e")
    status, error = two.cni("ADD", "e", e.ns)
    assert (status, error["code"]) == (1, 101)
    name, cidr, _ = POOLS[lab.families[0]]
    assert f"no free address in IPPool {name} ({cidr})" in error["msg"]
    c.detach()
    e.attach()
    assert e.ips == c.ips, "the only one that is free"
    for pod in (a, b, d, e):
        pod.detach()
    with Netlink(one.ns) as kernel:
        gone = lambda: not [each for each in kernel.routes() if each.destination.endswith("/32") and each.via]  # noqa: E731
        tools.eventually(gone, "nobody borrows any more", 3)
