"""The view and the ring of one resource: what was, what changed since, and how its sleepers are woken."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.cluster.storage import Collection, Compacted, Event, Record
from clew.cluster.storage.collection import A_TURN


class Model:
    """A collection beside plain dicts, one for each revision."""

    def __init__(self, limit: int = 1000, limit_bytes: int = 1 << 20) -> None:
        self.collection = Collection(0, limit, limit_bytes)
        self.states: list[dict[str, bytes]] = [{}]

    def write(self, key: str, value: bytes | None) -> None:
        """None deletes."""
        revision, before = len(self.states), self.collection.items.get(key)
        state = dict(self.states[-1])
        if value is None:
            state.pop(key, None)
            if before is None:
                self.states.append(state)
                return
            self.collection.apply(Event("DELETED", Record(key, revision, before.raw), before))
        else:
            state[key] = value
            self.collection.apply(Event("MODIFIED" if before else "ADDED", Record(key, revision, value), before))
        self.states.append(state)


def shown(collection: Collection, prefix: str = "", after: str = "") -> dict[str, bytes]:
    return {record.key: record.raw for record in collection.scan(prefix, after)}


STEPS = st.lists(st.tuples(st.sampled_from(["a/x", "a/y", "b/x", "c"]), st.none() | st.binary(min_size=1, max_size=3)))


@given(STEPS)
def test_every_past_state_is_there_as_long_as_the_ring_holds_it(steps: list) -> None:
    model = Model(limit=6)
    for key, value in steps:
        model.write(key, value)
    kept = model.collection._floor
    for revision, state in enumerate(model.states):
        if revision < kept:
            with pytest.raises(Compacted):
                model.collection.at(revision)
            continue
        past = model.collection.at(revision)
        assert shown(past) == state
        assert list(shown(past)) == sorted(state)
        assert shown(past, "a/") == {key: value for key, value in state.items() if key.startswith("a/")}
        assert shown(past, after="a/y") == {key: value for key, value in state.items() if key > "a/y"}
        assert past.count("a/") == sum(key.startswith("a/") for key in state)


@given(STEPS, st.integers(0, 40))
def test_who_follows_the_ring_from_a_version_arrives_at_the_newest_state(steps: list, start: int) -> None:
    model = Model(limit=8)
    for key, value in steps:
        model.write(key, value)
    start = min(start, len(model.states) - 1)
    try:
        position = model.collection.position_after(start)
    except Compacted:
        return
    state = dict(model.states[start])
    while events := model.collection.since(position, 3):
        position += len(events)
        for event in events:
            if event.change == "DELETED":
                del state[event.record.key]
            else:
                state[event.record.key] = event.record.raw
    assert (state, position) == (model.states[-1], model.collection.end)


def test_the_ring_is_bounded_by_number_and_by_size() -> None:
    by_number, by_size = Model(limit=10), Model(limit_bytes=1000)
    for number in range(100):
        by_number.write("k", b"%d" % number)
        by_size.write("k", b"x" * 100)
    for model, most in ((by_number, 20), (by_size, 20)):
        with pytest.raises(Compacted) as caught:
            model.collection.position_after(50)
        assert caught.value.oldest >= 100 - most - 1
        with pytest.raises(Compacted):
            model.collection.since(0)


async def test_who_sleeps_is_woken_by_a_change_and_by_nothing_else() -> None:
    model = Model()
    model.write("a", b"1")
    assert await model.collection.wait(0, 5) is True  # there is something already
    assert await model.collection.wait(1, 0.01) is False
    sleeper = asyncio.create_task(model.collection.wait(1, 5))
    await asyncio.sleep(0)
    model.write("a", b"2")
    model.collection.wake()
    assert await asyncio.wait_for(sleeper, 30) is True
    ended = asyncio.create_task(model.collection.wait(2, 5))
    await asyncio.sleep(0)
    model.collection.wake_all()  # the server stops
    assert await asyncio.wait_for(ended, 30) is False


async def test_a_crowd_is_woken_in_turns_between_which_others_run() -> None:
    """A thousand sleepers were once woken together, and held up every request for as long as that took."""
    model, woken = Model(), 0

    async def sleep() -> None:
        nonlocal woken
        assert await model.collection.wait(0, 60)
        woken += 1
        await model.collection.wait(model.collection.end, 0.05)  # and sleeps again, knowing everything

    async with asyncio.TaskGroup() as group:
        for _ in range(10 * A_TURN):
            group.create_task(sleep())
        await asyncio.sleep(0)
        model.write("a", b"1")
        model.collection.wake()
        seen = []
        while woken < 10 * A_TURN:
            await asyncio.sleep(0)  # somebody else's request
            seen.append(woken)
            if len(seen) == 3:
                model.write("a", b"2")  # meanwhile written, seen in the same round
                model.collection.wake()
        assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= A_TURN
