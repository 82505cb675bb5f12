"""Zones: what exists, what does not, and that sets replace each other without a trace."""

from hypothesis import given
from hypothesis import strategies as st

from clew.ir.names import Record
from clew.servers.dns import wire
from clew.servers.dns.wire import Query, Response
from clew.servers.dns.zone import Zone

WEB = Record("web.default.svc.cluster.local", "A", "10.96.0.7")


def query(name: str, kind: int = wire.A) -> Query:
    labels = wire.name_to_wire(name)
    return Query(b"\0" * 12 + labels, 1, 0, labels, labels.lower(), kind, wire.IN, 12 + len(labels) + 4, 0)


def zone(*records: Record) -> Zone:
    made = Zone("cluster.local")
    made.put("set", records)
    return made


def test_a_name_is_answered_in_any_case() -> None:
    response = zone(WEB).answer(query("WEB.default.svc.Cluster.Local"))
    assert [answer[-4:] for answer in response.answers] == [bytes((10, 96, 0, 7))]
    assert response.authoritative


def test_names_between_exist_but_have_nothing() -> None:
    made = zone(WEB)
    for name in ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"):
        assert made.answer(query(name)).rcode == wire.NOERROR
        assert not made.answer(query(name)).answers
        assert made.answer(query(name)).authority
    assert made.answer(query("other.svc.cluster.local")).rcode == wire.NXDOMAIN


def test_another_type_is_no_data() -> None:
    response = zone(WEB).answer(query(WEB.name, wire.AAAA))
    assert (response.rcode, len(response.answers), len(response.authority)) == (wire.NOERROR, 0, 1)


def test_a_borrowed_ending_is_not_the_zone() -> None:
    made = Zone("local")
    assert not made.holds(wire.name_to_wire("notlocal"))
    assert not made.holds(b"\x06xlocal\0")
    assert made.holds(wire.name_to_wire("a.local"))


def test_an_srv_answer_brings_its_targets_addresses() -> None:
    response = zone(WEB, Record(f"_http._tcp.{WEB.name}", "SRV", f"0 100 80 {WEB.name}")).answer(
        query(f"_http._tcp.{WEB.name}", wire.SRV)
    )
    assert len(response.answers) == 1
    assert response.additional[0].endswith(bytes((10, 96, 0, 7)))


def test_an_alias_is_answered_for_any_type() -> None:
    response = zone(Record("x.default.svc.cluster.local", "CNAME", "example.org")).answer(
        query("x.default.svc.cluster.local")
    )
    assert len(response.answers) == 1


NAMES = st.sampled_from(["a", "b", "c.a", "d.c.a", "e.b"])
SETS = st.dictionaries(st.integers(0, 4), st.lists(st.tuples(NAMES, st.integers(1, 3)), max_size=4), max_size=5)


def _records(pairs: list[tuple[str, int]]) -> list[Record]:
    return [Record(f"{name}.cluster.local", "A", f"10.0.0.{last}") for name, last in pairs]


@given(st.lists(SETS, max_size=5))
def test_any_history_leaves_the_same_zone_as_its_last_state(states: list[dict[int, list[tuple[str, int]]]]) -> None:
    lived = Zone("cluster.local")
    for state in states:
        lived.replace({key: _records(pairs) for key, pairs in state.items()})
    fresh = Zone("cluster.local")
    if states:
        fresh.replace({key: _records(pairs) for key, pairs in states[-1].items()})
    assert len(lived) == len(fresh)
    for name in ("a", "b", "c.a", "d.c.a", "e.b", "svc"):
        one, other = (made.answer(query(f"{name}.cluster.local")) for made in (lived, fresh))
        assert _content(one) == _content(other)


def _content(response: Response) -> tuple[int, list[bytes]]:
    return response.rcode, sorted(response.answers)
