import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

Reconcile = Callable[[str], Awaitable[float | None]]


async def drive(queue: WorkQueue[str], reconcile: Reconcile, done: asyncio.Event, workers: int = 3) -> None:
    running = asyncio.create_task(queue.run(reconcile, workers))
    async with asyncio.timeout(30):
        await done.wait()
    running.cancel()


async def test_one_key_never_runs_twice_at_once_and_is_not_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue("q")
    active, runs, done = 0, 0, asyncio.Event()

    async def reconcile(key: str) -> None:
        nonlocal active, runs
        active += 1
        assert active == 1
        runs += 1
        if runs == 1:
            queue.add(key)
            queue.add(key)
        for _ in range(5):
            await asyncio.sleep(0)
        active -= 1
        if runs == 2:
            done.set()

    for _ in range(4):
        queue.add("a")
    await drive(queue, reconcile, done)
    assert runs == 2


async def test_a_failure_is_tried_again_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    queue: WorkQueue[str] = WorkQueue("q", least=0.001)
    runs: list[str] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        runs.append(key)
        if key == "bug" and runs.count("bug") < 3:
            raise RuntimeError("a fault of ours")
        if key == "busy" and runs.count("busy") < 3:
            raise ApiError(500, "InternalError", "later")
        if runs.count("bug") == 3 and runs.count("busy") == 3:
            done.set()

    queue.add("bug")
    queue.add("busy")
    queue.add("fine")
    await drive(queue, reconcile, done, workers=1)
    assert runs.count("fine") == 1
    assert "reconciling bug failed" in caplog.text
    assert "busy is tried again: later" in caplog.text


async def test_pace_holds_up_the_second_run_only() -> None:
    queue: WorkQueue[str] = WorkQueue("q", pace=0.03)
    at: list[float] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        at.append(asyncio.get_running_loop().time())
        if len(at) == 1:
            queue.add(key)
        else:
            done.set()

    start = asyncio.get_running_loop().time()
    queue.add("a")
    await drive(queue, reconcile, done)
    assert at[0] - start < 0.03
    assert at[1] - at[0] >= 0.029


async def test_an_appointment_is_kept_and_the_earliest_counts() -> None:
    queue: WorkQueue[str] = WorkQueue("q")
    runs, done = 0, asyncio.Event()

    async def reconcile(_: str) -> float | None:
        nonlocal runs
        runs += 1
        if runs == 2:
            done.set()
        return 0.001 if runs == 1 else None

    queue.add_after("a", 60)
    queue.add_after("a", 0.001)
    queue.add_after("a", 60)
    await drive(queue, reconcile, done)
    assert runs == 2


def test_an_appointment_in_no_time_at_all_is_one_on_uvloop_too() -> None:
    """Its call_later of less than a millisecond gives a handle that does not know when: a controller died of it."""
    ran: list[str] = []

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue("q")
        done = asyncio.Event()

        async def reconcile(key: str) -> None:
            ran.append(key)
            done.set()

        queue.add_after("a", 0.0001)
        queue.add_after("a", 0.0002)
        queue.add_after("a", 0.00005)
        await drive(queue, reconcile, done)

    uvloop.run(main())
    assert ran == ["a"]
