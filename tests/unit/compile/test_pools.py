"""IPPools: which are in order, who may use them, where blocks lie; selectors and annotations in Calico's words."""

import re
from typing import Any

import pytest

from clew.compile import blocks, pools
from clew.compile.asks import asks
from clew.compile.calico_selectors import SelectorError, parse
from clew.compile.ipam import UnsuitableError
from clew.compile.ipam_rules import others, rules
from clew.compile.stretches import stretch
from clew.facts.ipamblock import Block, Holder, from_api, read, to_api
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
        (pool(namespaceSelector="!"), "spec.namespaceSelector", "'!'"),
        (pool(allowedUses=["LoadBalancer"]), "spec.allowedUses", "LoadBalancer"),
        (pool(cidr="10.0.0.0/33"), "spec.cidr", "10.0.0.0/33"),
        (pool(cidr=""), "spec.cidr", ""),
        (pool(cidr="169.254.0.0/16"), "spec.cidr", "169.254.0.0/16: link-local is no pod's"),
        (pool(cidr="0.0.0.0/0"), "spec.cidr", "overlaps with 0.0.0.0/8"),
        (pool(cidr="::ffff:10.0.0.0/112"), "spec.cidr", "overlaps with ::ffff:0:0/96: IPv4 in IPv6's words"),
        (pool(cidr="fe80::/64"), "spec.cidr", "link-local"),
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
    said = "10.0.128.0/17 overlaps with 10.0.0.0/16 of IPPool z, which is older: z gives addresses, a none while it is"
    assert problem.message == f"{said} there"
    good, (problem,) = pools.sound([pool("b", "10.0.0.0/17"), pool("a", "10.0.0.0/16")])
    assert list(good) == ["a"]
    assert "IPPool a, which is as old, and comes first by name" in problem.message


def test_a_pool_and_the_addresses_of_services() -> None:
    good, (problem,) = pools.sound(
        [pool("a", "10.0.0.0/8"), pool("b", "10.95.0.0/16"), pool("six", "fd00::/64")],
        ["10.96.0.0/16", "fd00:96::/112"],
    )
    assert list(good) == ["b", "six"], "and one that gives nothing is in no other's way"
    assert (problem.origin, problem.field) == ("IPPool a", "spec.cidr")
    assert problem.message.startswith("10.0.0.0/8 overlaps with 10.96.0.0/16, the range of Services")


def test_what_other_nodes_have_beside_the_pools() -> None:
    nodes = [
        Node("one", ("10.0.0.1",), pod_cidrs=("10.0.1.0/24",)),
        Node("two", ("10.0.0.2",), pod_cidrs=("10.0.2.0/24",)),
        Node("three", ("fd00::3",), pod_cidrs=("10.0.3.0/24", "rubbish"), ipam="pools"),
    ]
    found, _ = rules([], [], others("one", nodes))
    assert found.why_barred("10.0.1.7") == found.why_barred("10.0.3.7") == ""
    assert found.why_barred("10.0.2.7").startswith("10.0.2.0/24 is in spec.podCIDRs of node two, whose agent does not")
    assert found.why_barred("10.0.0.0/26") == "10.0.0.1 is an address of node one"
    assert found.why_barred("fd00::/126") == "fd00::3 is an address of node three"
    among = (stretch("10.0.0.0/22"),)
    free = list(pools.free_cidrs(pool(cidr="10.0.0.0/22", blockSize=25), [], "one", among, found.bar(4)))
    assert sorted(free) == ["10.0.0.128/25", "10.0.1.0/25", "10.0.1.128/25", "10.0.3.0/25", "10.0.3.128/25"]


def test_who_may_use_a_pool() -> None:
    good, _ = pools.sound(
        [
            pool("zone", "10.1.0.0/16", nodeSelector="zone == 'b'"), pool("off", "10.2.0.0/16", disabled=True),
            pool("tunnel", "10.3.0.0/16", allowedUses=["Tunnel"]),
            pool("manual", "10.4.0.0/16", assignmentMode="Manual"),
            pool("plain", "10.5.0.0/16"), pool("six", "fd00::/48"), pool("named", "10.6.0.0/16", nodeSelector="!all()"),
            pool("team", "10.7.0.0/16", namespaceSelector="team == 'a'"),
        ]
    )  # fmt: skip
    usable = pools.usable(good.values())
    assert [each.name for each in usable] == ["manual", "named", "plain", "six", "team", "zone"]

    def chosen(named: dict[int, list[str]], **namespace: str) -> dict[int, list[str]]:
        found = pools.chosen(usable, named, LABELS, namespace)
        return {family: [each.name for each in pools] for family, pools in found.items()}

    assert chosen({}) == {4: ["plain"], 6: ["six"]}
    assert chosen({}, team="a") == {4: ["plain", "team"], 6: ["six"]}
    assert chosen({}, team="b") == {4: ["plain"], 6: ["six"]}
    assert chosen({4: ["10.4.0.0/16"]}) == {4: ["manual"], 6: ["six"]}
    assert chosen({4: ["named", "zone", "team"]})[4] == ["named", "zone", "team"], "who names a pool needs no labels"
    for wrong in ("off", "tunnel", "six", "nothing"):
        with pytest.raises(UnsuitableError, match=r"ipv4pools\]: '" + wrong):
            pools.chosen(usable, {4: [wrong]}, LABELS, {})
    assert pools.with_address(good, (), "10.4.0.9", "f")[0].name == "manual"
    with pytest.raises(UnsuitableError, match=r"f: 10\.9\.0\.1 is in no IPPool .*plain \(10\.5\.0\.0/16\)"):
        pools.with_address(good, (), "10.9.0.1", "f")
    for ip, why in (
        ("10.2.0.1", "off (10.2.0.0/16), which is disabled"),
        ("10.3.0.1", "tunnel (10.3.0.0/16), which has"),
    ):
        with pytest.raises(UnsuitableError, match=f"f: {ip} is in IPPool {re.escape(why)}"):
            pools.with_address(good, (), ip, "f")


def test_where_a_new_block_may_lie() -> None:
    small = pool(cidr="10.0.0.0/24")
    among = (stretch(small.cidr),)
    every = list(pools.free_cidrs(small, [], "one", among))
    assert sorted(every) == ["10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26", "10.0.0.64/26"]
    taken = [Block("10.0.0.64/26", "two"), Block("10.0.0.160/27", "two"), Block("fd00::/122", "two")]
    assert sorted(pools.free_cidrs(small, taken, "one", among)) == ["10.0.0.0/26", "10.0.0.192/26"]
    wide = (stretch("10.0.0.0/16"),)
    starts = {next(iter(pools.free_cidrs(pool(), [], f"node-{number}", wide))) for number in range(10)}
    assert len(starts) > 7, "nodes do not all try the same block first"
    assert next(iter(pools.free_cidrs(pool(cidr="fd00::/48"), [], "one", (stretch("fd00::/48"),)))).endswith("/122")
    parts = (stretch("10.0.0.70"), stretch("10.0.0.200/30"))
    assert sorted(pools.free_cidrs(small, [], "one", parts)) == ["10.0.0.192/26", "10.0.0.64/26"]
    assert not list(pools.free_cidrs(small, [], "one", ()))
    far = (stretch("fd00:0:0:7:7:7:7:7"),)
    assert list(pools.free_cidrs(pool(cidr="fd00::/48"), [], "one", far)) == ["fd00::7:7:7:7:0/122"]


def test_a_block_as_an_object_and_back() -> None:
    empty = blocks.empty("10.0.0.64/30", "one")
    block, first = blocks.give(empty, Holder("c1/eth0", "one", "default/web", "2026-01-01T00:00:00Z"), 0) or (empty, "")
    block, second = blocks.give(block, Holder("c2/eth0", "two"), 1) or (block, "")
    assert (first, second) == ("10.0.0.64", "10.0.0.65")
    written = to_api(block)
    assert written["metadata"] == {"name": "10-0-0-64-30"}
    assert written["spec"]["affinity"] == "host:one"
    assert written["spec"]["allocations"] == [0, 1, None, None]
    assert written["spec"]["unallocated"] == [2, 3]
    assert from_api(written) == block
    assert blocks.shares(block) == (("one", "10.0.0.64/30"), ("two", "10.0.0.65/32"))
    assert blocks.give(block, Holder("c3/eth0", "one"), 1) is None, "somebody has it"
    freed = blocks.take_back(block, lambda address, _holder: address == second, "2026-01-01T00:00:09Z")
    assert from_api(to_api(freed)) == freed, "what cools down is in the object, too"
    assert to_api(freed)["spec"]["attributes"][1] == {"releasedAt": "2026-01-01T00:00:09Z"}
    assert blocks.thawed(freed, "2026-01-01T00:00:08Z") == freed
    assert blocks.thawed(freed, "2026-01-01T00:00:09Z").free == (2, 3, 1), "it waits longest"
    for field, value in (
        ("allocations", [0, 1, None]),
        ("allocations", [0, 7, None, None]),
        ("unallocated", [1, 2, 3]),
        ("affinity", "virtual:load-balancer"),
        ("cidr", "10.0.0.68/30"),
        ("cidr", "10.0.0.65/30"),
    ):
        edited = {**written, "spec": {**written["spec"], field: value}}
        with pytest.raises(ValueError, match=rf"spec\.{field}|host bits"):
            from_api(edited)
        found = read(edited)
        if field in {"affinity", "cidr"}:
            assert found is None, "nobody can say which range is whose"
        else:
            assert found is not None
            assert (found.cidr, found.node, found.free, found.held) == ("10.0.0.64/30", "one", (), ())
            assert field in found.malformed
            assert blocks.shares(found) == (("one", "10.0.0.64/30"),), "packets to its owner's pods still find them"


def test_nodes_are_known_by_what_they_have_of_the_pools() -> None:
    nodes = [Node("one", pod_cidrs=("10.244.1.0/24",)), Node("two", pod_cidrs=("10.244.2.0/24",))]
    found = blocks.with_ranges(nodes, {"one": ["10.0.0.64/30"]})
    assert [node.pod_cidrs for node in found] == [("10.0.0.64/30",), ()]


@pytest.mark.parametrize("name", ["ipAddrsNoIpam", "floatingIPs"])
def test_annotations_that_are_not_followed_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsuitableError, match=rf"annotations\[cni.projectcalico.org/{name}\] is .* is not done"):
        asks(PodAsks("default", "web", "", ((f"cni.projectcalico.org/{name}", '["10.0.0.7"]'),)))


@pytest.mark.parametrize(
    "text",
    [
        "10.1.0.300",
        "10.1.0.1/24",
        " 10.1.0.1",
        "010.1.0.1",
        "",
        "0",
        "1e3",
        "\u0660.1.0.1",
        "10.1.0.1\\u0000",
        "::/0",
        "::g",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UnsuitableError, match=r"annotations\[cni.projectcalico.org/ipAddrs\] is .* is no address"):
        asks(PodAsks("default", "web", "", (("cni.projectcalico.org/ipAddrs", f'["fd00::1", "{text}"]'),)))


@pytest.mark.parametrize("ip", ["fd00::9", "::ffff:10.4.0.3", "fe80::1%eth0", "0.0.0.0", "255.255.255.255", "::"])
def test_an_address_of_no_pool(ip: str) -> None:
    good, _ = pools.sound([pool("plain", "10.4.0.0/16")])
    (asked,) = asks(PodAsks("default", "web", "", (("cni.projectcalico.org/ipAddrs", f'["{ip}"]'),))).ips
    with pytest.raises(UnsuitableError, match=r"is in no IPPool that gives .*: plain \(10\.4\.0\.0/16\)"):
        pools.with_address(good, (), asked, "f")


@pytest.mark.parametrize("text", ['"10.0.0.7"', "10.0.0.7", '{"a": 1}', "[]", "[7]", "", "null"])
def test_an_annotation_that_is_no_list(text: str) -> None:
    with pytest.raises(UnsuitableError, match=r"ipAddrs\] is .*: it must be a list in JSON"):
        asks(PodAsks("default", "web", "", (("cni.projectcalico.org/ipAddrs", text),)))


def test_annotations() -> None:
    said = {"cni.projectcalico.org/ipAddrs": '["10.0.0.7", "FD00::7"]', "cni.projectcalico.org/ipv6pools": '["six"]'}
    found = asks(PodAsks("default", "web", "", tuple(said.items())))
    assert found.ips == ("10.0.0.7", "fd00::7")
    assert found.pools == {6: ("six",)}
    with pytest.raises(UnsuitableError, match=r"annotations\[cni.projectcalico.org/ipv4pools\] is '\[\]'"):
        asks(PodAsks("default", "web", "", (("cni.projectcalico.org/ipv4pools", "[]"),)))
