import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.cluster.controllers.deployment.rollout import (
    Limits,
    Replicas,
    limits,
    new_size,
    old_sizes,
    proportional,
    scaled,
)


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [("25%", 4, True, 1), ("25%", 3, True, 1), ("25%", 3, False, 0), ("100%", 7, False, 7), (3, 10, True, 3),
     (None, 9, True, 0)],
)  # fmt: skip
def test_percentages(value: int | str | None, total: int, up: bool, expected: int) -> None:  # a table
    assert scaled(value, total, up=up) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": 4}, Limits(4, 1, 1)),
        ({"replicas": 1}, Limits(1, 1, 0)),
        ({"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}, Limits(3, 0, 1)),
        ({"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 5}}}, Limits(2, 0, 2)),
        ({"replicas": 4, "strategy": {"type": "Recreate"}}, Limits(4, 0, 0)),
        ({}, Limits(1, 1, 0)),
    ],
)
def test_limits(spec: dict[str, object], expected: Limits) -> None:
    assert limits({"spec": spec}) == expected


def test_a_rollout_step_by_step() -> None:
    limit = Limits(4, 1, 1)
    new, old = Replicas("new", 0, 0), Replicas("old", 4, 4)
    assert new_size(new, [old], limit) == 1
    new = Replicas("new", 1, 0)
    assert new_size(new, [old], limit) == 1
    assert old_sizes(new, [old], limit) == {"old": 3}
    new, old = Replicas("new", 2, 1), Replicas("old", 3, 3)
    assert old_sizes(new, [old], limit) == {"old": 2}
    new, old = Replicas("new", 4, 4), Replicas("old", 1, 1)
    assert old_sizes(new, [old], limit) == {"old": 0}


def test_what_is_not_available_anyway_goes_first() -> None:
    limit = Limits(10, 3, 2)
    sizes = old_sizes(Replicas("new", 3, 0), [Replicas("a", 5, 1), Replicas("b", 5, 5)], limit)
    assert sizes == {"a": 3}


def test_a_broken_template_stops_the_rollout() -> None:
    limit = Limits(10, 3, 2)
    new, old = Replicas("new", 5, 0), Replicas("old", 8, 8)
    assert new_size(new, [old], limit) == 5
    assert old_sizes(new, [old], limit) == {}


@pytest.mark.parametrize(
    ("sets", "limit", "expected"),
    [
        # scaled up from 10 to 30 in the middle of a rollout
        ([Replicas("old", 8, 8, 13), Replicas("new", 5, 5, 13)], Limits(30, 3, 2), {"old": 20, "new": 13}),
        # scaled down to nothing
        ([Replicas("old", 3, 3, 5), Replicas("new", 2, 2, 5)], Limits(0, 0, 0), {"old": 0, "new": 0}),
        # nothing to do
        ([Replicas("old", 8, 8, 13), Replicas("new", 5, 5, 13)], Limits(10, 3, 2), {}),
    ],
)
def test_proportional(sets: list[Replicas], limit: Limits, expected: dict[str, int]) -> None:
    assert proportional(sets, limit, 13) == expected


numbers = st.integers(0, 12)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Replicas, list[Replicas], Limits]:
    wanted = draw(st.integers(0, 12))
    surge, unavailable = draw(numbers), draw(numbers)
    if surge == unavailable == 0:
        unavailable = 1
    sets = []
    for index in range(draw(st.integers(1, 4))):
        size = draw(numbers)
        sets.append(Replicas(f"s{index}", size, draw(st.integers(0, size)), draw(st.integers(0, 24))))
    return sets[-1], sets[:-1], Limits(wanted, surge, min(unavailable, wanted))


@given(scenes())
def test_scaling_up_never_asks_for_more_than_surge_allows(scene: tuple[Replicas, list[Replicas], Limits]) -> None:
    new, old, limit = scene
    size = new_size(new, old, limit)
    before = new.wanted + sum(each.wanted for each in old)
    assert size + sum(each.wanted for each in old) <= max(before, limit.most)
    assert size <= limit.wanted or size <= new.wanted


@given(scenes())
def test_scaling_down_never_takes_what_must_stay_available(scene: tuple[Replicas, list[Replicas], Limits]) -> None:
    new, old, limit = scene
    sizes = old_sizes(new, old, limit)
    assert all(0 <= size < next(each.wanted for each in old if each.name == name) for name, size in sizes.items())
    before = new.available + sum(each.available for each in old)
    after = new.available + sum(min(each.available, sizes.get(each.name, each.wanted)) for each in old)
    assert after >= min(before, limit.least_available)


@given(scenes())
def test_proportional_scaling_reaches_the_allowed_total(scene: tuple[Replicas, list[Replicas], Limits]) -> None:
    new, old, limit = scene
    sets = [*old, new]
    sizes = proportional(sets, limit, 5)
    total = sum(sizes.get(each.name, each.wanted) for each in sets)
    if any(each.wanted for each in sets):
        assert total == (limit.most if limit.wanted else 0)
    assert all(size >= 0 for size in sizes.values())


@settings(max_examples=200)
@given(scenes(), st.randoms(use_true_random=False))
def test_a_rollout_ends(scene: tuple[Replicas, list[Replicas], Limits], random: object) -> None:
    """Whatever state it starts in, as pods become available it arrives, and never breaks its limits on the way."""
    del random
    new, old, limit = scene
    for _ in range(200):
        size = new_size(new, old, limit)
        if size != new.wanted:
            new = Replicas(new.name, size, min(new.available, size))
        else:
            sizes = old_sizes(new, old, limit)
            if not sizes and new.available == new.wanted:
                break
            old = [
                Replicas(each.name, sizes.get(each.name, each.wanted), min(each.available, sizes.get(each.name, 99)))
                for each in old
            ]
            new = Replicas(new.name, new.wanted, min(new.wanted, new.available + 1))
    assert new.wanted == new.available == limit.wanted
    assert not any(each.wanted for each in old)
