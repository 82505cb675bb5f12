"""Who watches the parts of a process: each is a task, one that fails is started again, and what became of it is known.

A part that fails says so in the log and here, waits longer each time, and is patient no longer once it has held for a
while. Nothing else is decided: which parts there are is the composition's matter. Used by the lab's daemon.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, Self

from clew.base.clock import Clock, SystemClock
from clew.base.value import Value

logger = logging.getLogger(__name__)

Health = Literal["running", "failed", "done", "stopped"]
_SHORTEST, _LONGEST = 0.5, 30.0  # seconds between two attempts
_HELD = 60.0  # seconds after which a part counts as well again
Run = Callable[[], Awaitable[None]]


class PartState(Value):
    """How a part is. `problem` is its last failure's, kept until it has held for a while."""

    name: str
    health: Health = "running"
    restarts: int = 0
    problem: str = ""


class Supervisor:
    """Parts by name; an async context: leaving it ends them all."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._states: dict[str, PartState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def start(self, name: str, run: Run) -> None:
        """Run it until it returns (`done`), and again whenever it fails; nothing happens where it is at work."""
        if name in self._tasks:
            return
        self._states[name] = PartState(name)
        task = self._group.create_task(self._keep(name, run), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def stop(self, name: str) -> None:
        """End a part and wait until it has; it is not started again."""
        task = self._tasks.get(name)
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._states[name] = PartState(name, "stopped")

    def states(self) -> list[PartState]:
        """Every part that was ever started, in the order of their first start."""
        return list(self._states.values())

    async def _keep(self, name: str, run: Run) -> None:
        pause, restarts = _SHORTEST, 0
        while True:
            began = self._clock.monotonic()
            try:
                await run()
            except Exception as error:
                if self._clock.monotonic() - began > _HELD:
                    pause, restarts = _SHORTEST, 0
                restarts += 1
                problem = f"{type(error).__name__}: {error}".splitlines()[0]
                self._states[name] = PartState(name, "failed", restarts, problem)
                logger.exception("part %s failed; it is started again in %.1f s", name, pause)
            else:
                self._states[name] = PartState(name, "done", restarts)
                return
            await self._clock.sleep(pause)
            self._states[name] = PartState(name, "running", restarts, self._states[name].problem)
            pause = min(pause * 2, _LONGEST)
