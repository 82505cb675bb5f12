import asyncio
from datetime import UTC, datetime

from clew.reconcile import Pace, Turn


class Hands:
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + seconds, wake))
        await wake

    async def move(self, seconds: float) -> None:
        await settle()
        self.time += seconds
        for when, wake in self.sleepers:
            if when <= self.time and not wake.done():
                wake.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Runner:
    """Counts the turns of a pace."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.turns: list[Turn] = []

    async def run(self) -> None:
        while True:
            self.turns.append(await self.pace.turn())


async def test_the_first_change_runs_at_once_and_the_next_ones_are_spaced() -> None:
    hands = Hands()
    pace = Pace(hands, least=1, most=30, retry=5)
    runner = Runner(pace)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        await settle()
        assert runner.turns == [Turn.PERIODIC]
        await hands.move(10)
        pace.poke()
        await settle()
        assert runner.turns[1:] == [Turn.CHANGE]
        pace.poke()
        pace.poke()
        await hands.move(0.5)
        assert len(runner.turns) == 2
        await hands.move(0.5)
        assert runner.turns[2:] == [Turn.CHANGE]
        task.cancel()


async def test_a_failed_run_is_retried_and_a_change_does_not_wait_for_the_retry() -> None:
    hands = Hands()
    pace = Pace(hands, least=1, most=30, retry=5)
    runner = Runner(pace)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        await settle()
        pace.failed()
        pace.poke()
        await hands.move(1)
        assert runner.turns == [Turn.PERIODIC, Turn.CHANGE]
        task.cancel()


async def test_nothing_happens_between_the_periodic_runs() -> None:
    hands = Hands()
    pace = Pace(hands, least=1, most=30, retry=5)
    runner = Runner(pace)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        await hands.move(29)
        assert runner.turns == [Turn.PERIODIC]
        await hands.move(1)
        assert runner.turns == [Turn.PERIODIC, Turn.PERIODIC]
        task.cancel()


async def test_a_failure_without_a_change_waits_for_the_retry() -> None:
    hands = Hands()
    pace = Pace(hands, least=1, most=30, retry=5)
    await pace.turn()
    pace.failed()
    waiting = asyncio.ensure_future(pace.turn())
    await hands.move(4)
    assert not waiting.done()
    await hands.move(1)
    assert await waiting is Turn.RETRY
