"""A machine whose firewall drops what it forwards: said once by name, and not where it lets pods' packets through."""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from clew.base.addresses import Family
from clew.kernel.iptables import FakeIptables, IptablesError
from clew.node import forwarding

RANGES = ("10.244.1.0/24", "fd00:1::/64")


class Machine(FakeIptables):
    """What iptables-save prints of the table filter, by family."""

    def __init__(self, **text: str) -> None:
        super().__init__()
        self.text = text

    def save(self, family: Family, table: str) -> str:
        text = self.text.get(f"of{family}", "")
        if text == "refused":
            raise IptablesError(1, "read table filter", detail="another has the lock")
        return f"*{table}\n:INPUT DROP [0:0]\n{text}\nCOMMIT\n"


OPEN, CLOSED = ":FORWARD ACCEPT [0:0]", ":FORWARD DROP [12:800]"
LET = "-A FORWARD -s 10.244.1.0/24 -j ACCEPT\n-A FORWARD -d 10.244.1.0/24 -j ACCEPT"


@pytest.mark.parametrize(
    ("of4", "of6", "named"),
    [
        (OPEN, OPEN, []),
        ("", "", []),
        (CLOSED, OPEN, ["iptables"]),
        (CLOSED, CLOSED, ["iptables", "ip6tables"]),
        (f"{CLOSED}\n{LET}", CLOSED, ["ip6tables"]),
        ("refused", CLOSED, ["ip6tables"]),
        (":FORWARDED DROP [0:0]", OPEN, []),
    ],
)
def test_who_drops(of4: str, of6: str, named: list[str]) -> None:
    found = forwarding.closed(Machine(of4=of4, of6=of6), RANGES)
    assert [text.partition(":")[0] for text in found] == named


def test_a_family_without_pods_is_no_matter_and_the_other_kind_of_programs_counts() -> None:
    machine = Machine(of4=OPEN, of6=CLOSED)
    assert forwarding.closed(machine, RANGES[:1]) == []
    machine.elsewhere.append(Machine(of4=CLOSED))
    (text,) = forwarding.closed(machine, RANGES[:1])
    assert "let it accept packets from and to 10.244.1.0/24, or all of them (iptables -P FORWARD ACCEPT)" in text


async def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    looks = asyncio.Semaphore(0)

    class Clock:
        def monotonic(self) -> float:
            return 0.0

        def now(self) -> datetime:
            return datetime(2026, 1, 1, tzinfo=UTC)

        async def sleep(self, _seconds: float) -> None:
            looks.release()
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(forwarding.watch(Machine(of4=CLOSED), lambda: RANGES, Clock()))
        for _ in range(3):
            await asyncio.wait_for(looks.acquire(), 30)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert len([each for each in caplog.records if "chain FORWARD is DROP" in each.message]) == 1
