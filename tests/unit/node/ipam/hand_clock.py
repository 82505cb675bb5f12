"""A clock whose hands a test holds: who sleeps wakes when it has been put forward far enough."""

import asyncio
from datetime import UTC, datetime, timedelta


class HandClock:
    def __init__(self) -> None:
        self.at = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        until = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.at + seconds, until))
        await until

    async def forward(self, seconds: float) -> None:
        """In small steps, so that who wakes and sleeps again wakes in its order."""
        end = self.at + seconds
        while self.at < end - 1e-9:
            self.at = min(end, self.at + 0.05)
            for _, until in [each for each in self._sleepers if each[0] <= self.at + 1e-9 and not each[1].done()]:
                until.set_result(None)
            self._sleepers = [each for each in self._sleepers if not each[1].done()]
            for _ in range(12):
                await asyncio.sleep(0)
