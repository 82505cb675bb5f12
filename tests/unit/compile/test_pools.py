"""IPPools: which are in order, who may use them, where blocks lie; selectors and annotations in Calico's words."""

from typing import Any

import pytest

from clew.compile import blocks, pools
from clew.compile.asks import asks
from clew.compile.calico_selectors import SelectorError, parse
from clew.compile.ipam import UnsuitableError
from clew.facts.ipamblock import Block, Holder, from_api, to_api
from clew.facts.ippool import IPPool
from clew.facts.ippool import from_api as pool_from_api
from clew.facts.node import Node
from clew.facts.pod_asks import PodAsks

LABELS = {"zone": "a", "gpu": "", "name": "rack-7"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("all()", True), ("global()", False), ("has(gpu)", True), ("!has(gpu)", False), ("has(cpu)", False),
        ("zone == 'a'", True), ('zone == "a"', True), ("zone != 'a'", False), ("missing != 'a'", True),
        ("zone in {'a', 'b'}", True), ("zone not in { 'a','b' }", False), ("missing in {'a'}", False),
        ("missing not in {'a'}", True), ("name starts with 'rack-'", True), ("name ends with '8'", False),
        ("name contains 'ck'", True), ("missing contains 'ck'", False),
        ("zone == 'b' || has(gpu) && name == 'rack-7'", True),
        ("(zone == 'b' || has(gpu)) && !(name == 'rack-7')", False),
        ("all == 'x'", False),
    ],
)  # fmt: skip
def test_selectors(selector: str, matches: bool) -> None:
    assert parse(selector)(LABELS) is matches


@pytest.mark.parametrize(
    "selector",
    ["", "zone", "zone ==", "zone == a", "zone in {}", "(all()", "all() all()", "zone = 'a'", "has('a')", "%"],
)
def test_selectors_that_cannot_be_read(selector: str) -> None:
    with pytest.raises(SelectorError, match=r"wanted|nothing known"):
        parse(selector)


def pool(name: str = "p", cidr: str = "10.0.0.0/16", **more: Any) -> IPPool:
    return pool_from_api(
        {"metadata": {"name": name, "creationTimestamp": more.pop("at", "1")}, "spec": {"cidr": cidr, **more}}
    )


@pytest.mark.parametrize(
    ("found", "field", "words"),
    [
        (pool(cidr="10.0.0.1/16"), "spec.cidr", "host bits"),
        (pool(cidr="10.0.0.0/27"), "spec.cidr", "smaller than a block: spec.blockSize is 26"),
        (pool(cidr="fd00::/123"), "spec.cidr", "smaller than a block"),
        (pool(blockSize=19), "spec.blockSize", "20 to 32"),
        (pool(cidr="fd00::/64", blockSize=64), "spec.blockSize", "116 to 128"),
        (pool(nodeSelector="zone"), "spec.nodeSelector", "'zone'"),
        (pool(allowedUses=["LoadBalancer"]), "spec.allowedUses", "LoadBalancer"),
    ],
)
def test_wrong_pools(found: IPPool, field: str, words: str) -> None:
    good, (problem,) = pools.sound([found])
    assert not good
    assert problem.field == field
    assert words in problem.message


def test_of_two_that_overlap_the_older_one_stays() -> None:
    old, young = pool("z", "10.0.0.0/16", at="1"), pool("a", "10.0.128.0/17", at="2")
    good, (problem,) = pools.sound([young, old])
    assert list(good) == ["z"]
    assert problem.origin == "IPPool a"
    assert problem.message == "10.0.128.0/17 overlaps with 10.0.0.0/16 of IPPool z"


def test_who_may_use_a_pool() -> None:
    good, _ = pools.sound(
        [
            pool("zone", "10.1.0.0/16", nodeSelector="zone == 'b'"), pool("off", "10.2.0.0/16", disabled=True),
            pool("tunnel", "10.3.0.0/16", allowedUses=["Tunnel"]),
            pool("manual", "10.4.0.0/16", assignmentMode="Manual"),
            pool("plain", "10.5.0.0/16"), pool("six", "fd00::/48"),
        ]
    )  # fmt: skip
    usable = pools.usable(good, LABELS)
    assert [each.name for each in usable] == ["manual", "plain", "six"]
    by_family = {family: [each.name for each in found] for family, found in pools.chosen(usable, {}).items()}
    assert by_family == {4: ["plain"], 6: ["six"]}
    assert [each.name for each in pools.chosen(usable, {4: ["10.4.0.0/16"]})[4]] == ["manual"]
    for wrong in ("zone", "off", "six", "nothing"):
        with pytest.raises(UnsuitableError, match=r"ipv4pools\]: '" + wrong):
            pools.chosen(usable, {4: [wrong]})
    assert pools.with_address(usable, (), "10.4.0.9", "f")[0].name == "manual"
    with pytest.raises(UnsuitableError, match=r"f: 10\.9\.0\.1 is in no IPPool .*plain \(10\.5\.0\.0/16\)"):
        pools.with_address(usable, (), "10.9.0.1", "f")


def test_where_a_new_block_may_lie() -> None:
    small = pool(cidr="10.0.0.0/24")
    every = list(pools.free_cidrs(small, [], "one"))
    assert sorted(every) == ["10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26", "10.0.0.64/26"]
    taken = [Block("10.0.0.64/26", "two"), Block("10.0.0.160/27", "two"), Block("fd00::/122", "two")]
    assert sorted(pools.free_cidrs(small, taken, "one")) == ["10.0.0.0/26", "10.0.0.192/26"]
    starts = {next(iter(pools.free_cidrs(pool(), [], f"node-{number}"))) for number in range(10)}
    assert len(starts) > 7, "nodes do not all try the same block first"
    assert next(iter(pools.free_cidrs(pool(cidr="fd00::/48"), [], "one"))).endswith("/122")


def test_a_block_as_an_object_and_back() -> None:
    block, first = blocks.opened("10.0.0.64/30", "one", Holder("c1/eth0", "one", "default/web", "2026-01-01T00:00:00Z"))
    block, second = blocks.give(block, Holder("c2/eth0", "two")) or (block, "")
    assert (first, second) == ("10.0.0.64", "10.0.0.65")
    written = to_api(block)
    assert written["metadata"] == {"name": "10-0-0-64-30"}
    assert written["spec"]["affinity"] == "host:one"
    assert written["spec"]["allocations"] == [0, 1, None, None]
    assert written["spec"]["unallocated"] == [2, 3]
    assert from_api(written) == block
    assert blocks.shares(block) == (("one", "10.0.0.64/30"), ("two", "10.0.0.65/32"))
    for field, value in (
        ("allocations", [0, 1, None]),
        ("allocations", [0, 7, None, None]),
        ("unallocated", [1, 2, 3]),
    ):
        with pytest.raises(ValueError, match=rf"spec\.{field}"):
            from_api({**written, "spec": {**written["spec"], field: value}})


def test_nodes_are_known_by_what_they_have_of_the_pools() -> None:
    nodes = [Node("one", pod_cidrs=("10.244.1.0/24",)), Node("two", pod_cidrs=("10.244.2.0/24",))]
    found = blocks.with_ranges(nodes, {"one": ["10.0.0.64/30"]})
    assert [node.pod_cidrs for node in found] == [("10.0.0.64/30",), ()]


def test_annotations() -> None:
    said = {"cni.projectcalico.org/ipAddrs": '["10.0.0.7", "FD00::7"]', "cni.projectcalico.org/ipv6pools": '["six"]'}
    found = asks(PodAsks("default", "web", "", tuple(said.items())))
    assert found.ips == ("10.0.0.7", "fd00::7")
    assert found.pools == {6: ("six",)}
    with pytest.raises(UnsuitableError, match=r"annotations\[cni.projectcalico.org/ipv4pools\] is '\[\]'"):
        asks(PodAsks("default", "web", "", (("cni.projectcalico.org/ipv4pools", "[]"),)))
