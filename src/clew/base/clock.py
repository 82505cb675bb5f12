"""Time as an argument: code that waits takes a Clock, so that a test can hold the hands."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def now(self) -> datetime:
        """Wall-clock time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def happens_within(event: asyncio.Event, seconds: float, clock: Clock) -> bool:
    """Wait for an event, but no longer than this by the clock; whether it is set then."""
    happening = asyncio.ensure_future(event.wait())
    sleep = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({happening, sleep}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        happening.cancel()
        sleep.cancel()
        await asyncio.gather(happening, sleep, return_exceptions=True)
    return event.is_set()


def rfc3339(moment: datetime) -> str:
    """Kubernetes' metav1.Time: whole seconds, `2026-01-02T03:04:05Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """Kubernetes' metav1.MicroTime: `2026-01-02T03:04:05.000006Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
