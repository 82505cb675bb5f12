"""The suite of the rtnetlink port: the real socket and its stand-in answer alike."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from clew.kernel import netns
from clew.kernel.errors import KernelError
from clew.kernel.netlink import (
    Add,
    Address,
    AddressChanged,
    Bridge,
    Delete,
    DeleteGroup,
    Fdb,
    Filter,
    Link,
    LinkChanged,
    Monitor,
    Neighbour,
    Netlink,
    Nexthop,
    Overrun,
    Peer,
    Plain,
    Redirect,
    Route,
    RouteGone,
    RtNetlink,
    Rule,
    SetLink,
    TokenBucket,
    Veth,
    Vxlan,
    clsact,
    tbf,
)
from clew.kernel.netlink.fake import FakeNetlink

OURS = 151


class Pair(NamedTuple):
    """Two namespaces: the one under test, and another that its veth pairs reach into by `other_fd`."""

    kernel: RtNetlink
    other: RtNetlink
    other_fd: int
    path: Path | None


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    if request.param == "fake":
        other = FakeNetlink()
        yield Pair(FakeNetlink({99: other}), other, 99, None)
        return
    here, there = tmp_path / "here", tmp_path / "there"
    netns.create(here)
    try:
        netns.create(there)
        try:
            fd = os.open(there, os.O_RDONLY)
            with Netlink(here) as kernel, Netlink(there) as other_kernel:
                yield Pair(kernel, other_kernel, fd, here)
            os.close(fd)
        finally:
            netns.delete(there)
    finally:
        netns.delete(here)


def switch(kernel: RtNetlink) -> None:
    """A bridge with an address of each family."""
    kernel.request(
        [
            Add(Link("br0", Bridge(stp=False), up=True, mac="0a:58:0a:f4:01:01", mtu=1450)),
            Add(Address("10.244.1.1/24", "br0")),
            Add(Address("fd00:10:244:1::1/64", "br0", nodad=True)),
        ]
    )


def refusal(kernel: RtNetlink, *batch: object) -> KernelError:
    with pytest.raises(KernelError) as caught:
        kernel.request(batch)  # type: ignore[arg-type]
    return caught.value


def test_a_veth_pair_spans_two_namespaces(pair: Pair) -> None:
    switch(pair.kernel)
    peer = Peer("eth0", pair.other_fd, mac="0a:58:0a:f4:01:02", mtu=1400)
    near = Link("pod1", Veth(peer), up=True, mtu=1400, master="br0", group=77, alias="default/web")
    pair.kernel.request([Add(near), SetLink("pod1", hairpin=True)])
    pair.other.request([SetLink("eth0", up=True)])

    link = pair.kernel.link("pod1")
    assert link is not None
    assert (link.master, link.group, link.alias, link.mtu, link.hairpin) == ("br0", 77, "default/web", 1400, True)
    assert isinstance(link.detail, Veth)
    far = pair.other.link("eth0")
    assert far is not None
    assert (far.mac, far.mtu, far.up) == ("0a:58:0a:f4:01:02", 1400, True)

    pair.kernel.request([Delete(Link("pod1"))])
    assert pair.kernel.link("pod1") is None
    assert pair.other.link("eth0") is None, "the other end goes with it"


def test_a_link_that_exists_or_is_missing(pair: Pair) -> None:
    switch(pair.kernel)
    assert refusal(pair.kernel, Add(Link("br0", Bridge()))).exists
    missing = refusal(pair.kernel, SetLink("br0", up=True), Delete(Link("nope")))
    assert (missing.number, missing.index, missing.absent) == (errno.ENODEV, 1, True)
    assert "nope" in str(missing)
    assert refusal(pair.kernel, SetLink("br0", mtu=9)).number == errno.EINVAL


def test_a_peer_name_in_use_leaves_nothing_behind(pair: Pair) -> None:
    pair.other.request([Add(Link("eth0", Bridge()))])
    assert refusal(pair.kernel, Add(Link("pod1", Veth(Peer("eth0", pair.other_fd))))).exists
    assert pair.kernel.link("pod1") is None


def test_attempt_goes_on_past_a_refusal(pair: Pair) -> None:
    switch(pair.kernel)
    answers = pair.kernel.attempt(
        [
            Add(Route("10.5.0.0/16", via="10.244.1.9", proto=OURS)),
            Add(Route("10.6.0.0/16", via="192.0.2.1", proto=OURS)),
            Add(Route("10.7.0.0/16", via="10.244.1.9", proto=OURS)),
        ]
    )
    assert [answer and answer.number for answer in answers] == [None, errno.ENETUNREACH, None]
    assert {route.destination for route in pair.kernel.routes(proto=OURS)} == {"10.5.0.0/16", "10.7.0.0/16"}


def test_names_made_in_a_batch_are_known_in_it(pair: Pair) -> None:
    pair.kernel.request(
        [
            Add(Link("br0", Bridge(), up=True)),
            Add(Link("a0", Veth(Peer("a1")), master="br0")),
            SetLink("a1", rename="a2"),
            SetLink("a2", ns=pair.other_fd),
            Delete(Link("br0")),
            Add(Link("br0", Bridge(), up=True)),
            Add(Address("10.0.0.1/24", "br0")),
        ]
    )
    assert pair.other.link("a2") is not None
    assert pair.kernel.link("a2") is None
    assert [address.dev for address in pair.kernel.addresses() if address.address == "10.0.0.1/24"] == ["br0"]
    near = pair.kernel.link("a0")
    assert near is not None
    assert near.master == ""


def test_further_names_may_be_long(pair: Pair) -> None:
    switch(pair.kernel)
    pair.kernel.request([SetLink("br0", altname="the-bridge-of-all-pods-here")])
    link = pair.kernel.link("the-bridge-of-all-pods-here")
    assert link is not None
    assert (link.name, link.altnames) == ("br0", ("the-bridge-of-all-pods-here",))


def test_addresses(pair: Pair) -> None:
    switch(pair.kernel)
    have = {a.address: a for a in pair.kernel.addresses() if not a.link_local and a.dev != "lo"}
    assert set(have) == {"10.244.1.1/24", "fd00:10:244:1::1/64"}
    assert have["fd00:10:244:1::1/64"].nodad
    assert not have["fd00:10:244:1::1/64"].tentative
    assert refusal(pair.kernel, Add(Address("10.244.1.1/24", "br0"))).exists
    pair.kernel.request([Add(Address("10.244.1.1/24", "br0"), replace=True), Delete(Address("10.244.1.1/24", "br0"))])
    assert refusal(pair.kernel, Delete(Address("10.244.1.1/24", "br0"))).number == errno.EADDRNOTAVAIL
    assert "10.244.1.0/24" not in {route.destination for route in pair.kernel.routes()}


ROUTES = [
    Route("10.5.0.0/16", via="10.244.1.9", dev="br0", proto=OURS),
    Route("0.0.0.0/0", via="10.244.1.9", dev="br0", proto=OURS, table=1000, mtu=1400),
    Route("10.6.0.0/16", kind="blackhole", proto=OURS),
    Route("10.6.1.0/24", kind="unreachable", proto=OURS, metric=5),
    Route("10.7.0.0/16", hops=(Nexthop("10.244.1.9", "br0"), Nexthop("10.244.1.8", "br0", 3)), proto=OURS),
    Route("10.8.0.0/16", via="192.0.2.1", dev="br0", onlink=True, proto=OURS),
    Route("10.9.0.0/16", dev="br0", proto=OURS, source="10.244.1.1"),
    Route("fd05::/64", via="fd00:10:244:1::9", dev="br0", proto=OURS),
    Route("::/0", via="fd00:10:244:1::9", dev="br0", proto=OURS, metric=7),
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.destination)
def test_a_route_reads_back_as_it_was_asked_for(pair: Pair, route: Route) -> None:
    switch(pair.kernel)
    pair.kernel.request([Add(route)])
    assert pair.kernel.routes(proto=OURS) == [route]
    assert refusal(pair.kernel, Add(route)).exists
    theirs = Route(route.destination, table=route.table, metric=route.metric, kind=route.kind, proto=OURS + 1)
    assert refusal(pair.kernel, Delete(theirs)).absent, "a delete takes only routes of the proto that it names"
    pair.kernel.request([Delete(replace(theirs, proto=OURS))])
    assert pair.kernel.routes(proto=OURS) == []
    assert refusal(pair.kernel, Delete(replace(theirs, proto=0))).absent


def test_a_route_is_replaced(pair: Pair) -> None:
    switch(pair.kernel)
    pair.kernel.request([Add(Route("10.5.0.0/16", via="10.244.1.9", proto=OURS))])
    pair.kernel.request([Add(Route("10.5.0.0/16", via="10.244.1.8", proto=OURS), replace=True)])
    assert [route.via for route in pair.kernel.routes(proto=OURS)] == ["10.244.1.8"]
    pair.kernel.request([Add(Route("fd05::/64", via="fd00:10:244:1::9", proto=OURS))])
    pair.kernel.request([Add(Route("fd05::/64", via="fd00:10:244:1::8", proto=OURS), replace=True)])
    assert [route.via for route in pair.kernel.routes(proto=OURS) if ":" in route.via] == ["fd00:10:244:1::8"]


def test_the_second_way_out_is_refused_as_one_that_exists(pair: Pair) -> None:
    """Two links in one subnet: each knows the gateway, and the default route goes over the first."""
    for place, dev in enumerate(("a0", "a1")):
        card = Veth(Peer(f"eth{place}", pair.other_fd))
        pair.kernel.request([Add(Link(dev, card, up=True)), Add(Address(f"10.1.0.{place + 2}/24", dev))])
    pair.other.request([SetLink("eth0", up=True), SetLink("eth1", up=True)])
    pair.kernel.request([Add(Route("0.0.0.0/0", via="10.1.0.1", dev="a0"))])
    assert refusal(pair.kernel, Add(Route("0.0.0.0/0", via="10.1.0.1", dev="a1"))).exists


def test_a_table_that_nobody_uses_is_empty(pair: Pair) -> None:
    assert pair.kernel.routes(table=4711) == []


def test_routes_go_with_their_link(pair: Pair) -> None:
    switch(pair.kernel)
    pair.kernel.request([Add(Route("10.5.0.0/16", via="10.244.1.9", proto=OURS)), SetLink("br0", up=False)])
    assert pair.kernel.routes(proto=OURS) == []
    assert refusal(pair.kernel, Add(Route("10.5.0.0/16", dev="br0"))).number == errno.ENETDOWN


def test_neighbours(pair: Pair) -> None:
    switch(pair.kernel)
    entries = [Neighbour(ip, "br0", "0a:58:0a:f4:01:02") for ip in ("10.244.1.2", "fd00:10:244:1::2")]
    pair.kernel.request([Add(entry) for entry in entries])
    assert [entry for entry in pair.kernel.neighbours() if entry.dev == "br0"] == entries
    assert refusal(pair.kernel, Add(entries[0])).exists
    moved = Neighbour("10.244.1.2", "br0", "0a:58:0a:f4:01:03")
    pair.kernel.request([Add(moved, replace=True), Delete(entries[1])])
    assert moved in pair.kernel.neighbours()
    assert refusal(pair.kernel, Delete(entries[1])).number == errno.ENOENT


def test_vxlan_and_its_forwarding_entries(pair: Pair) -> None:
    switch(pair.kernel)
    vxlan = Vxlan(7, port=8472, local="10.244.1.1", device="br0", learning=False)
    entry = Fdb("0a:00:00:00:00:01", "vx7", remote="10.244.9.9")
    pair.kernel.request([Add(Link("vx7", vxlan, up=True)), Add(entry)])
    link = pair.kernel.link("vx7")
    assert link is not None
    assert next(found.detail for found in pair.kernel.links() if found.name == "vx7") == vxlan
    assert entry in pair.kernel.fdb()
    pair.kernel.request([Delete(entry)])
    assert entry not in pair.kernel.fdb()


def test_rules(pair: Pair) -> None:
    rules = [
        Rule(100, source="10.244.1.0/24", table=1000, proto=OURS),
        Rule(101, 6, destination="fd00::/48", iif="lo", mark=0x10, mask=0xFF, table=1001, proto=OURS),
    ]
    pair.kernel.request([Add(rule) for rule in rules])
    assert [rule for rule in pair.kernel.rules() if rule.proto == OURS] == rules
    pair.kernel.request([Delete(rule) for rule in rules])
    assert [rule for rule in pair.kernel.rules() if rule.proto == OURS] == []


def test_a_group_of_links_goes_at_once(pair: Pair) -> None:
    pair.kernel.request([Add(Link(f"v{i}", Veth(Peer(f"p{i}", pair.other_fd)), group=77)) for i in range(50)])
    pair.kernel.request([Add(Link("kept", Bridge())), DeleteGroup(77)])
    assert [link.name for link in pair.kernel.links()] == ["lo", "kept"]
    assert [link.name for link in pair.other.links()] == ["lo"]


@pytest.mark.root
def test_a_dump_larger_than_any_buffer(tmp_path: Path) -> None:
    path = tmp_path / "ns"
    netns.create(path)
    try:
        with Netlink(path) as kernel:
            switch(kernel)
            want = [Route(f"10.{i >> 8}.{i & 255}.0/24", via="10.244.1.9", dev="br0", proto=OURS) for i in range(3000)]
            kernel.request([Add(route) for route in want])
            assert kernel.routes(proto=OURS) == want
    finally:
        netns.delete(path)


@pytest.mark.root
def test_pyroute2_sees_the_same(tmp_path: Path) -> None:
    """The oracle: another implementation reads what this one wrote."""
    path = tmp_path / "ns"
    netns.create(path)
    try:
        with Netlink(path) as kernel:
            switch(kernel)
            kernel.request([Add(route) for route in ROUTES if route.table == 254 and not route.hops])
        seen, bridge = netns.run_in(path, oracle)
    finally:
        netns.delete(path)
    assert ("10.5.0.0", 16, "10.244.1.9") in seen
    assert ("fd05::", 64, "fd00:10:244:1::9") in seen
    assert (None, 0, "fd00:10:244:1::9") in seen
    assert len(seen) == 7
    assert bridge == ("0a:58:0a:f4:01:01", "bridge")


def oracle() -> tuple[set[tuple[str | None, int, str | None]], tuple[str, str]]:
    """Our routes and the bridge's MAC and kind, by pyroute2 in the calling thread's namespace."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - its import takes 150 ms, and this test alone wants it

    with IPRoute() as pyroute2:
        seen = {
            (route.get_attr("RTA_DST"), route["dst_len"], route.get_attr("RTA_GATEWAY"))
            for route in pyroute2.get_routes(proto=OURS)
            if route["proto"] == OURS
        }
        (bridge,) = pyroute2.link("get", ifname="br0")
    return seen, (bridge.get_attr("IFLA_ADDRESS"), bridge.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND"))


@pytest.mark.root
def test_a_monitor_hears_links_and_lost_routes(tmp_path: Path) -> None:
    path = tmp_path / "ns"
    netns.create(path)
    try:
        with Netlink(path) as kernel, Monitor(path) as monitor:
            switch(kernel)
            kernel.request([Add(Route("10.5.0.0/16", via="10.244.1.9", proto=OURS))])
            assert {e.link.name for e in monitor.drain() if isinstance(e, LinkChanged)} == {"br0"}
            kernel.request([Delete(Route("10.5.0.0/16", proto=OURS))])
            (gone,) = (event for event in monitor.drain() if isinstance(event, RouteGone))
            assert (gone.route.destination, gone.route.proto) == ("10.5.0.0/16", OURS)
            assert monitor.drain() == []
            kernel.request([Add(Address("10.9.9.1/24", "br0")), Delete(Address("10.9.9.1/24", "br0"))])
            heard = [event for event in monitor.drain() if isinstance(event, AddressChanged)]
            assert heard == [AddressChanged("10.9.9.1/24", gone=False), AddressChanged("10.9.9.1/24", gone=True)]
            kernel.request([SetLink("br0", mtu=1000 + i % 100) for i in range(2000)])
            assert Overrun() in monitor.drain()
    finally:
        netns.delete(path)


def test_filters_hang_on_a_discipline_that_queues_nothing(pair: Pair) -> None:
    switch(pair.kernel)
    [refusal] = pair.kernel.attempt([Delete(Filter("br0", "ingress", 1))])
    assert refusal is not None
    pair.kernel.request([Add(clsact("br0"))])
    [refusal] = pair.kernel.attempt([Add(clsact("br0"))])
    assert refusal is not None
    assert refusal.exists
    assert [each for each in pair.kernel.qdiscs() if each.kind == "clsact"] == [clsact("br0")]
    assert pair.kernel.filters("br0") == []
    assert pair.kernel.filters("gone") == []
    [refusal] = pair.kernel.attempt([Delete(Filter("br0", "ingress", 1))])
    assert refusal is not None
    assert refusal.absent
    pair.kernel.request([Delete(clsact("br0"))])
    assert clsact("br0") not in pair.kernel.qdiscs()
    [refusal] = pair.kernel.attempt([Delete(clsact("br0"))])
    assert refusal is not None
    assert refusal.number == errno.EINVAL


def test_packets_wait_their_turn_and_are_led_elsewhere(pair: Pair) -> None:
    switch(pair.kernel)
    pair.kernel.request([Add(Link("ifb7", Plain("ifb"), up=True))])
    slow = TokenBucket(rate=125_000, limit=20_000, burst=16_000)
    pair.kernel.request([Add(tbf("br0", slow))])
    (found,) = [each for each in pair.kernel.qdiscs() if each.kind == "tbf"]
    assert found == tbf("br0", TokenBucket(125_000, 20_000)), "a dump has no burst"
    fast = TokenBucket(rate=12_500_000_000, limit=4_000_000_000, burst=2_000_000_000)
    pair.kernel.request([Add(tbf("br0", fast), replace=True)])
    (found,) = [each for each in pair.kernel.qdiscs() if each.kind == "tbf"]
    assert found.bucket == TokenBucket(12_500_000_000, 4_000_000_000), "more than 32 bits"
    [refusal] = pair.kernel.attempt([Add(Redirect("br0", "ifb7", 100))])
    assert refusal is not None, "there is nothing that it could hang on"
    pair.kernel.request([Add(clsact("br0")), Add(Redirect("br0", "ifb7", 100))])
    assert pair.kernel.redirects("br0") == [Redirect("br0", "ifb7", 100)]
    assert pair.kernel.filters("br0") == []
    pair.kernel.request([Delete(Redirect("br0", "ifb7", 100))])
    assert pair.kernel.redirects("br0") == []
    pair.kernel.request([Delete(tbf("br0", fast))])
    assert [each for each in pair.kernel.qdiscs() if each.kind == "tbf"] == []
    pair.kernel.request([Add(Redirect("br0", "ifb7", 100)), Delete(Link("br0"))])
    assert pair.kernel.redirects("br0") == []
