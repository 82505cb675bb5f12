import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.store import StaleRevisionError, Table
from clew.store import table as table_module

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")


def test_a_fact_put_is_there_and_its_key_has_changed() -> None:
    table: Table[int] = Table()
    table.put(A, 1)
    assert table.get(A) == 1
    assert table.changes_since(0) == ({A}, 1)
    assert table.changes_since(1) == (set(), 1)


def test_putting_what_is_there_changes_nothing() -> None:
    table: Table[int] = Table()
    table.put(A, 1)
    table.put(A, 1)
    table.put(B, None)
    assert table.revision == 1


def test_a_deleted_key_is_among_the_changes() -> None:
    table: Table[int] = Table()
    table.put(A, 1)
    _, seen = table.changes_since(0)
    table.put(A, None)
    assert table.changes_since(seen) == ({A}, 2)
    assert A not in table


def test_replace_removes_what_is_not_in_the_list_and_marks_in_sync() -> None:
    table: Table[int] = Table()
    table.put(A, 1)
    table.put(B, 2)
    seen = table.revision
    assert not table.in_sync
    table.replace({B: 2, C: 3})
    assert table.in_sync
    assert dict(table.items()) == {B: 2, C: 3}
    assert table.changes_since(seen)[0] == {A, C}


async def test_an_empty_first_list_is_in_sync_too_and_tells() -> None:
    table: Table[int] = Table()
    told: list[int] = []
    table.on_change(lambda: told.append(1))
    table.replace({})
    await table.wait_in_sync()
    assert told == [1]


def test_listeners_hear_of_changes_until_they_leave() -> None:
    table: Table[int] = Table()
    told: list[int] = []
    leave = table.on_change(lambda: told.append(table.revision))
    table.put(A, 1)
    table.put(A, 1)
    leave()
    table.put(B, 1)
    assert told == [1]


def test_an_index_follows_its_facts() -> None:
    table: Table[tuple[str, ...]] = Table()
    table.put(A, ("x", "y"))
    index = table.index(lambda fact: fact)
    table.put(B, ("y",))
    assert index.get("y") == {A, B}
    table.put(A, ("x",))
    assert index.get("y") == {B}
    table.put(B, None)
    assert index.get("y") == set()
    assert set(index.values()) == {"x"}


def test_a_reader_too_far_behind_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "TOMBSTONES", 4)
    table: Table[int] = Table("services")
    for number in range(6):
        table.put(("ns", str(number)), number)
    for number in range(5):
        table.put(("ns", str(number)), None)
    with pytest.raises(StaleRevisionError, match="services"):
        table.changes_since(1)
    changed, _ = table.changes_since(0)
    assert ("ns", "5") in changed
    assert table.changes_since(table.revision - 1)[0] == {("ns", "4")}


KEYS = st.sampled_from([A, B, C])
STEPS = st.lists(
    st.one_of(st.tuples(KEYS, st.one_of(st.none(), st.integers(0, 2))), st.dictionaries(KEYS, st.integers(0, 2)))
)


@given(STEPS, STEPS)
def test_a_reader_that_copies_the_changes_has_the_table(before: list[object], after: list[object]) -> None:
    table: Table[int] = Table()
    copy: dict[tuple[str, str], int] = {}
    seen = 0
    for steps in (before, after):
        for step in steps:
            if isinstance(step, dict):
                table.replace(step)
            else:
                assert isinstance(step, tuple)
                table.put(*step)
        changed, seen = table.changes_since(seen)
        for key in changed:
            fact = table.get(key)
            if fact is None:
                copy.pop(key, None)
            else:
                copy[key] = fact
        assert copy == dict(table.items())
