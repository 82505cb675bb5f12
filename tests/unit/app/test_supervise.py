"""Parts that fail come again, later each time; what became of each is known; leaving ends them all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from clew.app.supervise import PartState, Supervisor


class Hands:
    """A clock that jumps: whoever sleeps on it goes on at once, later."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


def failing(times: int, hands: Hands, *, after: float = 0.0) -> Callable[[], Awaitable[None]]:
    left = [times]

    async def run() -> None:
        hands.time += after
        if left[0]:
            left[0] -= 1
            raise ValueError("first line\nsecond line")

    return run


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def _run(times: int, after: float = 0.0) -> tuple[Supervisor, Hands]:
    hands = Hands()
    async with Supervisor(hands) as supervisor:
        supervisor.start("part", failing(times, hands, after=after))
        await _until(lambda: supervisor.states()[0].health == "done")
    return supervisor, hands


def test_a_part_that_fails_comes_again_later_each_time_up_to_half_a_minute() -> None:
    supervisor, hands = asyncio.run(_run(8))
    assert hands.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert supervisor.states() == [PartState("part", "done", 8)]


def test_one_that_held_for_a_while_starts_afresh() -> None:
    """The pause once grew for the daemon's whole life: a part that failed monthly ended up waiting 30 seconds."""
    _, hands = asyncio.run(_run(3, after=61.0))
    assert hands.slept == [0.5, 0.5, 0.5]


def test_a_failure_is_one_line() -> None:
    async def run() -> PartState:
        stuck = asyncio.Event()

        class Waiting(Hands):
            async def sleep(self, seconds: float) -> None:
                del seconds
                await stuck.wait()

        async with Supervisor(Waiting()) as supervisor:
            supervisor.start("part", failing(1, Hands()))
            await _until(lambda: supervisor.states()[0].health != "running")
            return supervisor.states()[0]

    assert asyncio.run(run()) == PartState("part", "failed", 1, "ValueError: first line")


def test_stopped_parts_can_be_started_again_and_a_second_start_does_nothing() -> None:
    began: list[str] = []

    async def run() -> list[PartState]:
        async def forever() -> None:
            began.append("part")
            await asyncio.Event().wait()

        async with Supervisor() as supervisor:
            supervisor.start("part", forever)
            supervisor.start("part", forever)
            await asyncio.sleep(0)
            await supervisor.stop("part")
            await supervisor.stop("never there")
            stopped = supervisor.states()
            supervisor.start("part", forever)
            await asyncio.sleep(0)
        return stopped

    assert asyncio.run(run()) == [PartState("part", "stopped")]
    assert began == ["part", "part"]
