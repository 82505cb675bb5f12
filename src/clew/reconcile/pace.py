"""When to run next: at once after a quiet time, spaced when changes come thick, again after a failure, now and then.

The first change is never delayed; only those that follow within `least` seconds of the last run are. Used by every
loop of the agent that applies a difference. Time comes from the Clock, so that a test can hold the hands.
"""

import asyncio
from enum import StrEnum

from clew.base.clock import Clock, happens_within


class Turn(StrEnum):
    CHANGE = "change"
    RETRY = "retry"
    PERIODIC = "periodic"


class Pace:
    """least: seconds between the starts of two runs; most: seconds without a run; retry: seconds after a failure."""

    def __init__(self, clock: Clock, *, least: float, most: float, retry: float) -> None:
        self._clock = clock
        self._least, self._most, self._retry = least, most, retry
        self._changed = asyncio.Event()
        self._started: float | None = None
        self._failed = False

    def poke(self) -> None:
        """Something changed."""
        self._changed.set()

    def failed(self) -> None:
        """The run that began last failed: another follows after `retry` seconds, or earlier if something changes."""
        self._failed = True

    @property
    def pending(self) -> bool:
        """Whether a change waits for its run."""
        return self._changed.is_set()

    async def turn(self) -> Turn:
        """Wait until the next run is due, and say why it is."""
        reason = await self._reason()
        if self._started is not None:
            wait = self._started + self._least - self._clock.monotonic()
            if wait > 0:
                await self._clock.sleep(wait)
        self._changed.clear()
        self._failed = False
        self._started = self._clock.monotonic()
        return reason

    async def _reason(self) -> Turn:
        if self._changed.is_set():
            return Turn.CHANGE
        if self._started is None:  # nothing ran yet: whoever asks has something to do
            return Turn.PERIODIC
        limit = self._retry if self._failed else self._most
        wait = self._started + limit - self._clock.monotonic()
        if wait > 0 and await happens_within(self._changed, wait, self._clock):
            return Turn.CHANGE
        return Turn.RETRY if self._failed else Turn.PERIODIC
