"""The rtnetlink codec without a kernel: known bytes, and every value back from its own bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.kernel.netlink import (
    Add,
    Address,
    Bridge,
    Delete,
    Fdb,
    Link,
    Neighbour,
    Nexthop,
    Peer,
    Plain,
    Route,
    Rule,
    SetLink,
    Veth,
    Vxlan,
    XfrmInterface,
    links,
    neighbours,
    routes,
    wire,
)
from clew.kernel.netlink.messages import messages_of
from clew.kernel.netlink.requests import describe

NAMES = {"lo": 1, "eth0": 2, "cbr0": 3}


def index_of(name: str) -> int:
    return NAMES[name]


def name_of(index: int) -> str:
    return {index: name for name, index in NAMES.items()}[index]


def test_a_route_in_bytes() -> None:
    """10.244.2.0/24 via 172.30.0.12 dev eth0 proto 147, as linux/rtnetlink.h lays it out."""
    ((kind, flags, body),) = messages_of(
        Add(Route("10.244.2.0/24", via="172.30.0.12", dev="eth0", proto=147)), index_of
    )
    assert (kind, flags) == (24, 0x400 | 0x200)
    assert body == bytes.fromhex(
        "02 18 00 00 fe 93 00 01 00000000"  # AF_INET, /24, main table, proto, scope universe, unicast
        "0800 0100 0af40200"  # RTA_DST
        "0800 0f00 fe000000"  # RTA_TABLE
        "0800 0500 ac1e000c"  # RTA_GATEWAY
        "0800 0400 02000000"  # RTA_OIF
    )


def test_a_veth_pair_in_bytes() -> None:
    ((kind, _flags, body),) = messages_of(Add(Link("v0", Veth(Peer("eth0", 7)))), index_of)
    assert kind == 16
    peer = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + b"\x09\0\x03\0eth0\0\0\0\0" + b"\x08\0\x1c\0\x07\0\0\0"
    info = (
        b"\x09\0\x01\0veth\0\0\0\0" + struct.pack("=HH", 8 + len(peer), 2) + struct.pack("=HH", 4 + len(peer), 1) + peer
    )
    assert body == (
        struct.pack("=BxHiII", 0, 0, 0, 0, 0) + b"\x07\0\x03\0v0\0\0" + struct.pack("=HH", 4 + len(info), 18) + info
    )


def test_what_the_kernel_forgets_at_creation_is_said_again() -> None:
    messages = messages_of(Add(Link("v0", Veth(), alias="x", altnames=("a-long-name-for-it",))), index_of)
    assert [kind for kind, _, _ in messages] == [16, 16, 108]


def test_a_change_is_as_few_messages_as_the_kernel_allows() -> None:
    assert len(messages_of(SetLink("cbr0", up=True, mtu=1400, master=""), index_of)) == 1
    assert len(messages_of(SetLink("cbr0", up=True, hairpin=True), index_of)) == 2
    assert messages_of(SetLink("cbr0"), index_of) == []


ips4 = st.ip_addresses(v=4).map(str)
ips6 = st.ip_addresses(v=6).map(str)
names = st.sampled_from(["eth0", "cbr0"])
macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
tables = st.sampled_from([254, 100, 1000, 70000])


@st.composite
def route_values(draw: st.DrawFn) -> Route:
    six = draw(st.booleans())
    ips = ips6 if six else ips4
    bits = draw(st.integers(1, 128 if six else 32))
    common = {"table": draw(tables), "proto": draw(st.integers(1, 255)), "metric": draw(st.sampled_from([0, 1, 77]))}
    destination = f"{draw(ips)}/{bits}"
    match draw(st.sampled_from(["via", "drop", "hops"])):
        case "via":
            return Route(
                destination, via=draw(ips), dev=draw(names), source=draw(st.one_of(st.just(""), ips)),
                onlink=draw(st.booleans()), mtu=draw(st.sampled_from([0, 1400])), **common,
            )  # fmt: skip
        case "drop":
            return Route(
                destination, kind=draw(st.sampled_from(["blackhole", "unreachable", "prohibit", "throw"])), **common
            )
        case _:
            hop = st.builds(Nexthop, via=ips, dev=names, weight=st.integers(1, 256), onlink=st.booleans())
            return Route(destination, hops=tuple(draw(st.lists(hop, min_size=2, max_size=4))), **common)


@given(route_values())
def test_routes_round_trip(route: Route) -> None:
    assert routes.decode(memoryview(routes.encode(route, index_of)), name_of) == route


@given(
    st.builds(
        Rule,
        priority=st.integers(1, 32000),
        source=st.one_of(st.just(""), ips4.map(lambda ip: f"{ip}/24")),
        iif=st.one_of(st.just(""), names),
        table=tables,
        proto=st.integers(0, 255),
    )
)
def test_rules_round_trip(rule: Rule) -> None:
    assert routes.decode_rule(memoryview(routes.encode_rule(rule))) == rule


@given(st.one_of(ips4.map(lambda ip: f"{ip}/24"), ips6.map(lambda ip: f"{ip}/64")), names, st.booleans())
def test_addresses_round_trip(ip: str, dev: str, nodad: bool) -> None:
    address = Address(ip, dev, nodad=nodad)
    assert neighbours.decode_address(memoryview(neighbours.encode_address(address, index_of)), name_of) == address


@given(st.one_of(ips4, ips6), macs, names, st.booleans())
def test_neighbours_round_trip(ip: str, mac: str, dev: str, permanent: bool) -> None:
    entry = Neighbour(ip, dev, mac, permanent=permanent)
    assert neighbours.decode_neighbour(memoryview(neighbours.encode_neighbour(entry, index_of)), name_of) == entry
    way = Fdb(mac, dev, remote=ip, permanent=permanent)
    assert neighbours.decode_fdb(memoryview(neighbours.encode_fdb(way, index_of)), name_of) == way


@given(
    st.one_of(
        st.builds(Bridge, st.integers(1, 300), st.integers(2, 30), st.booleans(), st.booleans()),
        st.builds(XfrmInterface, st.integers(1, 2**32 - 1)),
        st.builds(Vxlan, st.integers(1, 2**24 - 1), st.integers(1, 65535), ips4, st.just("eth0"), st.booleans()),
        st.just(Veth()),
        st.just(Plain("dummy")),
    ),
    macs,
)
def test_links_round_trip(detail: object, mac: str) -> None:
    link = Link("x0", detail, up=True, mtu=1450, mac=mac, group=147)  # type: ignore[arg-type]
    found = links.with_names(links.decode(memoryview(links.encode(link, index_of))), {"2": "eth0"})
    assert found == link


@given(st.binary(max_size=200))
def test_broken_attributes_end_the_walk(data: bytes) -> None:
    assert sum(4 + len(payload) for _, payload in wire.walk(memoryview(data))) <= len(data) + 4 * len(data)


def test_requests_say_what_they_are() -> None:
    assert str(Delete(Route("10.0.0.0/8", proto=147))) == "delete route 10.0.0.0/8 proto=147"
    pair = Add(Link("v0", Veth(Peer("eth0", 7)), up=True))
    assert str(pair) == "add link v0 detail=(veth (peer eth0 ns=7)) up=True"
    assert str(SetLink("v0", mtu=9)) == "set link v0 mtu=9"
    assert describe(Address("10.0.0.1/24", "cbr0")) == "address 10.0.0.1/24 dev=cbr0"


def test_text_that_is_no_address_is_named() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.300"):
        wire.pack_ip("10.0.0.300")
