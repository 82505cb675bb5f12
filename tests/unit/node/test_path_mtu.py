"""What paths take: told by routers, found where nobody tells, looked at again."""

import asyncio
from datetime import UTC, datetime

import pytest

from clew.kernel.echo import FakeEcho, Reply
from clew.node.path_mtu import EVERY, PathMtu

ONE, TWO, SIX = "172.30.0.12", "172.31.0.13", "fd00::12"
PEERS = {ONE: "Node one", TWO: "Node two", SIX: "Node one"}


class HandClock:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.asleep = asyncio.Event()

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((seconds, passed))
        self.asleep.set()
        await passed

    def pass_by(self) -> None:
        for _, passed in self.sleepers:
            if not passed.done():
                passed.set_result(None)
        self.sleepers.clear()


class Watched:
    def __init__(self, echo: FakeEcho) -> None:
        self.clock, self.changes = HandClock(), 0
        self.probe = PathMtu(echo, self.clock, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def rest(self) -> None:
        """Until it waits for the next minute."""
        async with asyncio.timeout(30):
            self.clock.asleep.clear()
            await self.clock.asleep.wait()


@pytest.mark.parametrize("tells", [True, False])
async def test_a_narrow_path_is_found_and_the_others_are_not_spoken_of(tells: bool) -> None:
    echo = FakeEcho({ONE: 1500, TWO: 1387, SIX: 1500}, tells=tells)
    watched = Watched(echo)
    watched.probe.want(PEERS, 1500)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watched.probe.run())
        await watched.rest()
        assert watched.probe.paths == {TWO: 1387}
        assert watched.changes == 1
        assert watched.clock.sleepers[0][0] == EVERY
        echo.paths[TWO] = 1500
        watched.clock.pass_by()
        await watched.rest()
        assert watched.probe.paths == {}, "it is wider by now"
        assert watched.changes == 2
        task.cancel()


async def test_who_answers_nothing_keeps_what_is_known_and_who_is_new_is_asked_at_once() -> None:
    echo = FakeEcho({ONE: 1400})
    watched = Watched(echo)
    watched.probe.want({ONE: "Node one"}, 1500)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watched.probe.run())
        await watched.rest()
        assert watched.probe.paths == {ONE: 1400}
        echo.paths[ONE] = 0
        watched.clock.pass_by()
        await watched.rest()
        assert watched.probe.paths == {ONE: 1400}
        echo.asked.clear()
        echo.paths[TWO] = 1300
        watched.probe.want({ONE: "Node one", TWO: "Node two"}, 1500)
        await watched.rest()
        assert watched.probe.paths == {ONE: 1400, TWO: 1300}
        assert {address for address, _ in echo.asked} == {TWO}, "the others are not asked for its sake"
        watched.probe.want({TWO: "Node two"}, 1500)
        assert watched.probe.paths == {TWO: 1300}, "who is gone is forgotten"
        watched.probe.want({TWO: "Node two"}, 1300)
        assert watched.probe.paths == {}, "our own link takes no more"
        task.cancel()


class StutteringEcho(FakeEcho):
    """It loses the first few packets, whatever their size but for the least."""

    def __init__(self, paths: dict[str, int], lost: int) -> None:
        super().__init__(paths)
        self._lost = lost

    async def ask(self, address: str, size: int, seconds: float) -> Reply:
        if size > 576 and self._lost:
            self._lost -= 1
            return Reply(came=False)
        return await super().ask(address, size, seconds)


async def test_packets_that_were_lost_otherwise_make_no_path_narrow() -> None:
    watched = Watched(StutteringEcho({ONE: 1500}, lost=7))
    watched.probe.want({ONE: "Node one"}, 1500)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watched.probe.run())
        await watched.rest()
        assert watched.probe.paths == {}
        task.cancel()
