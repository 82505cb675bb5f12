"""A daemon that runs for a year does not end up with a certificate that nobody takes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from clew.app.renewal import until_renewed
from clew.cluster.ca import Authority

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Hands:
    """A clock whose sleepers wake at once, later."""

    def __init__(self) -> None:
        self.moment = BEGAN

    def monotonic(self) -> float:
        return (self.moment - BEGAN).total_seconds()

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


async def test_it_is_time_two_months_before_the_end(tmp_path: Path) -> None:
    clock = Hands()
    authority = Authority.ensure(tmp_path, clock)
    before = authority.server(("localhost",), ("127.0.0.1",))
    await until_renewed(lambda: authority.server(("localhost",), ("127.0.0.1",)), clock)
    assert timedelta(days=304) < clock.moment - BEGAN <= timedelta(days=306)
    assert authority.server(("localhost",), ("127.0.0.1",)) != before
