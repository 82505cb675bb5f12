from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clew.reconcile import DeltaMap

KEYS = st.integers(0, 4)
VALUES = st.integers(0, 2)
MAYBE = st.one_of(st.none(), VALUES)
STEP = st.one_of(
    st.tuples(st.sampled_from(["want", "found"]), KEYS, MAYBE),
    st.tuples(st.sampled_from(["want_whole", "found_whole", "want_each"]), st.dictionaries(KEYS, VALUES)),
    st.tuples(st.just("done"), KEYS),
    st.tuples(st.just("done_whole")),
)


def busy(key: int, value: int) -> bool:
    return (key + value) % 3 == 0


@given(st.lists(STEP))
def test_the_difference_leads_from_actual_to_desired(steps: list[tuple[Any, ...]]) -> None:
    delta: DeltaMap[int, int] = DeltaMap(busy)
    for name, *arguments in steps:
        getattr(delta, name)(*arguments)
        world = {**delta.actual, **delta.updates}
        for key in delta.deletions:
            del world[key]
        assert world == {**delta.desired, **{key: delta.actual[key] for key in delta.draining}}
        assert all(busy(key, delta.actual[key]) and key not in delta.desired for key in delta.draining)
        assert all(delta.actual.get(key) != value for key, value in delta.updates.items())
        assert bool(delta) == bool(delta.updates or delta.deletions)


@given(st.lists(STEP), st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_wholes_forget_what_was_before(
    steps: list[tuple[Any, ...]], desired: dict[int, int], actual: dict[int, int]
) -> None:
    used: DeltaMap[int, int] = DeltaMap(busy)
    for name, *arguments in steps:
        getattr(used, name)(*arguments)
    fresh: DeltaMap[int, int] = DeltaMap(busy)
    for delta in (used, fresh):
        delta.want_whole(desired)
        delta.found_whole(actual)
    assert used.updates == fresh.updates
    assert used.deletions == fresh.deletions
    assert used.draining == fresh.draining


def test_an_entry_drains_until_the_world_says_that_nobody_uses_it() -> None:
    delta: DeltaMap[str, int] = DeltaMap(lambda _key, connections: connections > 0)
    delta.found("real server", 3)
    assert delta.draining == {"real server"}
    assert not delta
    delta.found("real server", 0)
    assert delta.deletions == {"real server"}
    delta.done("real server")
    assert list(delta) == []


def test_a_draining_entry_that_is_wanted_again_stays() -> None:
    delta: DeltaMap[str, int] = DeltaMap(lambda _key, _value: True)
    delta.want("a", 1)
    delta.done("a")
    delta.want("a", None)
    assert delta.draining == {"a"}
    delta.want("a", 1)
    assert list(delta) == []
