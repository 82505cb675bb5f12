"""Entries and packets told in words, and the bytes of the maps there and back."""

import pytest
from tests.unit.dataplane.balancers import STATES, balancer

from clew.dataplane.ebpf import layout
from clew.dataplane.ebpf.explain import Explainer
from clew.dataplane.ebpf.layout import ENDPOINTS, FRONTENDS, MEMBERS, RANGES, WRITTEN, Flag, FrontendKey
from clew.dataplane.ebpf.objects import Device, State, Surface
from clew.dataplane.ebpf.programme import Programme
from clew.dataplane.ebpf.simulate import simulate
from clew.ir.packets import Packet, Surroundings
from clew.ir.proxying import Settings

SETTINGS = Settings(4, ("10.244.0.0/16",), node_addresses=("172.30.0.11",), pod_interface="")
SURFACE = Surface((Device(4, "veth1", "cbr0"),), ("172.30.0.11",), 1)


def rendered(state: str) -> State:
    programme = Programme(SETTINGS, SURFACE)
    programme.want(STATES[state])
    return programme.wanted()


@pytest.mark.parametrize("state", STATES)
def test_every_entry_has_a_sentence(state: str) -> None:
    node = rendered(state)
    explainer = Explainer(node)
    said = {
        name: [explainer.entry(name, key, value) for key, value in node.maps.get(name, {}).items()] for name in WRITTEN
    }
    for each in (*said[FRONTENDS], *said[ENDPOINTS], *said[MEMBERS]):
        assert each.origin.startswith("Service default/") or "refused" in each.sentence
    assert all(each.sentence for entries in said.values() for each in entries)
    assert all(row.key for row in explainer.rows())


def test_words() -> None:
    node = rendered("two share a pod")
    rows = {(row.map, row.key): row.value for row in Explainer(node).rows()}
    assert rows[FRONTENDS, "10.96.0.1:80/TCP"] == "1 backend of default/a"
    assert rows[FRONTENDS, "port 30080/TCP"] == (
        "2 backends of default/b, for clients outside 1 backend of default/b local"
    )
    assert rows[FRONTENDS, "192.0.2.1:30080/TCP"].endswith("; for some sources only")
    assert (RANGES, "192.0.2.1:30080/TCP from 10.0.0.0/8") in rows
    assert rows[ENDPOINTS, "backend 1 of default/b"] == "10.0.0.3:8080"
    sticky = {(row.map, row.key): row.value for row in Explainer(rendered("sticky")).rows()}
    assert sticky[FRONTENDS, "10.96.0.1:80/TCP"] == "2 backends of default/a; a client keeps its own for 60 s"
    assert sticky[MEMBERS, "10.0.0.1:8080 of default/a"] == ""


def test_a_packet_is_explained_by_the_entry_that_decided() -> None:
    node = rendered("one")
    around = Surroundings(frozenset({"172.30.0.11"}))
    packet = Packet("10.244.1.9", "10.96.0.1", "TCP", 80)
    for sockets, told in ((True, "the socket was told"), (False, "connection tracking was told")):
        for outcome in simulate(node, packet, around, sockets=sockets):
            explained = Explainer(node).packet(outcome)
            assert explained.origin == "Service default/a"
            assert f"{told} 10.0.0." in explained.sentence
    (other,) = simulate(node, Packet("10.244.1.9", "192.0.2.1", "TCP", 80), around)
    assert Explainer(node).packet(other).sentence == "no service is asked for"


def test_nothing_is_known_where_nothing_is_loaded() -> None:
    empty = State(4, {}, {}, {})
    (outcome,) = simulate(empty, Packet("10.0.0.1", "10.96.0.1", "TCP", 80), Surroundings(frozenset()))
    assert (outcome.end, outcome.destination) == ("goes on", "10.96.0.1")


@pytest.mark.parametrize(
    "where",
    [
        FrontendKey(4, "10.96.0.1", "TCP", 80), FrontendKey(4, "", "UDP", 30053),
        FrontendKey(6, "fd00::1", "SCTP", 65535), FrontendKey(6, "", "TCP", 1),
    ],
)  # fmt: skip
def test_keys_there_and_back(where: FrontendKey) -> None:
    key = layout.pack_frontend_key(where.family, where.address, where.protocol, where.port)
    assert layout.unpack_frontend_key(key) == where
    assert layout.of_family(FRONTENDS, [(key, b"")], where.family) == {key: b""}
    assert not layout.of_family(FRONTENDS, [(key, b"")], 6 if where.family == 4 else 4)


def test_entries_of_both_families_in_one_map_are_told_apart() -> None:
    numbers = {4: layout.pack_number(7), 6: layout.pack_number(7 | layout.IPV6_SETS)}
    places = {4: layout.pack_place(7, 1), 6: layout.pack_place(7 | layout.IPV6_SETS, 1)}
    prefixes = {4: layout.pack_prefix("10.0.0.0/8"), 6: layout.pack_prefix("fd00::/48")}
    for name, keys in ((layout.NAMES, numbers), (layout.ENDPOINTS, places), (layout.PODS, prefixes)):
        entries = [(key, b"") for key in keys.values()]
        assert list(layout.of_family(name, entries, 4)) == [keys[4]]
        assert list(layout.of_family(name, entries, 6)) == [keys[6]]
    nodes = [(layout.index_of(4), b""), (layout.index_of(6), b"")]
    assert layout.of_family(layout.NODES, nodes, 6) == dict(nodes[1:])
    assert layout.of_family(layout.LINKS, nodes, 6) == dict(nodes)


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "fd00::/48", "::/0", "fd00::7/128"])
def test_prefixes_there_and_back(prefix: str) -> None:
    for before in (b"", bytes(20)):
        key = layout.pack_prefix(prefix, before)
        assert layout.unpack_prefix(key) == prefix
        inside = prefix.partition("/")[0]
        assert layout.covers(key, before + layout.pack_address(inside))
    other = "172.16.0.1" if ":" in prefix else "fd00:1::1"
    assert not layout.covers(layout.pack_prefix(prefix), layout.pack_address(other)) or prefix == "::/0"


def test_values_there_and_back() -> None:
    frontend = layout.Frontend(1, 1 << 31, 3, 4, 60, Flag.EXTERNAL | Flag.SERVED)
    assert layout.unpack_frontend(layout.pack_frontend(frontend)) == frontend
    assert layout.unpack_endpoint(layout.pack_endpoint("fd00::1", 80)) == ("fd00::1", 80)
    assert layout.unpack_name(layout.pack_name("default/web:http local")) == "default/web:http local"


def test_a_restart_takes_over_numbers_by_name() -> None:
    first = Programme(SETTINGS, SURFACE)
    first.want({("default", "z"): (balancer("default/z", "10.96.0.9", ["10.0.0.9"]),)})
    first.want(STATES["one"])
    second = Programme(SETTINGS, SURFACE)
    second.adopt(first.wanted().maps)
    second.want(STATES["one"] | {("default", "z"): (balancer("default/z", "10.96.0.9", ["10.0.0.9"]),)})
    assert second.wanted() == first.wanted()
