"""Keys to reconcile: each at most once in the queue, never two at once of the same, failures later and later.

Level-triggered: a key says where to look, not what happened. A key added while it is being reconciled is reconciled
again afterwards. Called by controllers and the scheduler.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from clew.base.errors import WorldError
from clew.watch.backoff import Backoff
from clew.watch.errors import ApiError

K = TypeVar("K", bound=Hashable)

logger = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """`pace`: the least seconds between the starts of two runs of one key; the first is never held up."""

    def __init__(self, name: str, *, pace: float = 0.0, least: float = 0.01, most: float = 30.0) -> None:
        self.name = name
        self._pace = pace
        self._least = least
        self._most = most
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()  # in the queue, or to be queued when its run ends
        self._running: set[K] = set()
        self._later: dict[K, tuple[float, asyncio.Handle]] = {}  # when, and what may be cancelled
        self._failures: dict[K, Backoff] = {}
        self._started: dict[K, float] = {}

    def add(self, key: K) -> None:
        if key in self._waiting:
            return
        if self._pace and (started := self._started.get(key)) is not None:
            pause = started + self._pace - asyncio.get_running_loop().time()
            if pause > 0:
                self.add_after(key, pause)
                return
        self._now(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Once, at the earliest time that anybody asked for."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        due = self._later.get(key)
        if due is not None:
            if due[0] <= when:
                return
            due[1].cancel()
        self._later[key] = when, loop.call_later(seconds, self._due, key)

    @property
    def idle(self) -> bool:
        """Nothing to do now and nothing to try again; a later appointment does not count."""
        return not (self._waiting or self._running or self._failures)

    async def run(self, reconcile: Callable[[K], Awaitable[float | None]], workers: int = 1) -> None:
        """For ever. `reconcile` returns the seconds after which to look again, or None."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(workers):
                    tasks.create_task(self._work(reconcile), name=f"{self.name} worker")
        finally:
            for _, due in self._later.values():
                due.cancel()
            self._later.clear()

    async def _work(self, reconcile: Callable[[K], Awaitable[float | None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._running.add(key)
            if self._pace:
                self._note_start(key, loop.time())
            try:
                again = await self._once(reconcile, key)
            finally:
                self._running.discard(key)
            if key in self._waiting:
                self._waiting.discard(key)
                self.add(key)
            elif again is not None:
                self.add_after(key, again)

    async def _once(self, reconcile: Callable[[K], Awaitable[float | None]], key: K) -> float | None:
        try:
            again = await reconcile(key)
        except WorldError as error:
            level = logging.DEBUG if isinstance(error, ApiError) and error.conflict else logging.WARNING
            logger.log(level, "%s: %s is tried again: %s", self.name, key, error)
        except Exception:
            # A fault of ours on one key must not stop the others; it is loud, and tried again with ever longer pauses.
            logger.exception("%s: reconciling %s failed", self.name, key)
        else:
            self._failures.pop(key, None)
            return again
        backoff = self._failures.get(key)
        if backoff is None:
            backoff = self._failures[key] = Backoff(self._least, self._most)
        return backoff.next()

    def _now(self, key: K) -> None:
        self._waiting.add(key)
        if key not in self._running:
            self._ready.put_nowait(key)

    def _due(self, key: K) -> None:
        self._later.pop(key, None)
        if key not in self._waiting:
            self._now(key)

    def _note_start(self, key: K, now: float) -> None:
        self._started[key] = now
        if len(self._started) > 10_000:
            self._started = {known: at for known, at in self._started.items() if now - at < self._pace}
