"""The names that a node answers for: kept by changes they are what they would be anew; and none of them is idle."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clew.dataplane.dns_fast_path import render
from clew.dataplane.dns_fast_path.objects import NameEntry, Outcome
from clew.dataplane.dns_fast_path.simulate import Knowledge, decide
from clew.facts import service
from clew.facts.namespace import Namespace
from clew.facts.service import Service
from clew.ir.names import KnownZone
from clew.node.fast_names import FastNames, by_namespace
from clew.store.table import Table

ZONE = KnownZone("cluster.local", 30, "Corefile")
KINDS: tuple[dict[str, Any], ...] = (
    {"clusterIPs": ["10.96.0.7"]},
    {"clusterIPs": ["10.96.0.8", "fd00:96::8"]},
    {"clusterIPs": ["fd00:96::9"]},
    {"clusterIPs": ["None"]},
    {"clusterIPs": []},
    {"clusterIPs": ["10.96.0.7", "10.96.0.9"]},
    {"clusterIPs": ["not an address"]},
    {"type": "ExternalName", "externalName": "elsewhere.test"},
)


def a_service(namespace: str, name: str, kind: int) -> Service:
    return service.from_api({"metadata": {"namespace": namespace, "name": name}, "spec": KINDS[kind]})


class Cluster:
    def __init__(self) -> None:
        self.services: Table[Service] = Table()
        self.namespaces: Table[Namespace] = Table()
        self.within = by_namespace(self.services)

    def names(self) -> FastNames:
        return FastNames(ZONE, self.services, self.namespaces, self.within)


SPACES = ("shop", "other", "web")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("service"), st.sampled_from(SPACES), st.sampled_from("ab"), st.integers(-1, len(KINDS) - 1)),
        st.tuples(st.just("namespace"), st.sampled_from(SPACES), st.just(""), st.integers(0, 1)),
        st.tuples(st.just("feed"), st.just(""), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_kept_by_changes_they_are_what_they_would_be_anew(steps: list[tuple[str, str, str, int]]) -> None:
    cluster = Cluster()
    kept = cluster.names()
    seen: dict[bytes, NameEntry] = {}
    for what, space, name, number in [*steps, ("feed", "", "", 0)]:
        if what == "service":
            cluster.services.put((space, name), a_service(space, name, number) if number >= 0 else None)
        elif what == "namespace":
            cluster.namespaces.put(("", space), Namespace(space) if number else None)
        else:
            for key, entry in kept.feed().items():
                if entry is None:
                    del seen[key]  # what goes was there
                else:
                    assert seen.get(key) != entry, "nothing is written again"
                    seen[key] = entry
    whole = cluster.names()
    whole.feed()
    assert seen == kept.entries == whole.entries


def question(key: bytes, kind: int) -> bytes:
    return bytes.fromhex("0001010000010000") + bytes(4) + key + b"\7cluster\5local\0" + kind.to_bytes(2) + b"\0\1"


def test_without_any_one_entry_something_is_answered_otherwise() -> None:
    cluster = Cluster()
    cluster.namespaces.replace({("", each): Namespace(each) for each in SPACES})
    cluster.services.replace({("shop", f"s{at}"): a_service("shop", f"s{at}", at) for at in range(len(KINDS))})
    names, zone = cluster.names(), render.zone(ZONE)
    names.feed()
    assert zone is not None
    assert len(names.entries) == 5 + len(SPACES) + len(KINDS)
    asked = [
        question(prefix + key, kind) for key in names.entries for prefix in (b"", b"\1x") for kind in (1, 28)
    ]  # fmt: skip

    def table(entries: dict[bytes, NameEntry]) -> list[tuple[Outcome, bytes]]:
        found = (decide(Knowledge(entries, zone), each) for each in asked)
        return [(each.outcome, each.answer) for each in found]

    before = table(names.entries)
    assert {outcome for outcome, _ in before} == {
        Outcome.ADDRESS, Outcome.NODATA, Outcome.NXDOMAIN, Outcome.SERVER,
    }  # fmt: skip
    for key in names.entries:
        assert table({each: entry for each, entry in names.entries.items() if each != key}) != before, key


def test_a_zone_that_is_too_long_is_none() -> None:
    assert render.zone(KnownZone(f"{'a' * 62}.local", 5, "")) is None
    assert render.zone(KnownZone("a.b.c.d.e.f.g", 5, "")) is None
    assert render.zone(KnownZone("", 5, "")) is None
    longest = render.zone(KnownZone("a.b.c.d.e.f", 5, ""))
    assert longest is not None
    assert longest.labels == 6
    wide = render.zone(KnownZone(f"{'a' * 50}.example", 5, ""))
    assert wide is not None
    assert len(wide.soa[0].record) <= 128
