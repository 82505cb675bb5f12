"""Ranges of cluster addresses: the cluster's own objects where they are shown, the configuration where they are not."""

import asyncio

import pytest

from clew.facts.servicecidr import ServiceCidr
from clew.node.service_ranges import ServiceRanges

CONFIGURED = ("10.96.0.0/12",)


def test_the_configuration_holds_until_there_is_a_list() -> None:
    ranges = ServiceRanges()
    assert ranges.of(CONFIGURED) == CONFIGURED
    ranges.table.replace({("", "a"): ServiceCidr("a", ("10.1.0.0/16",)), ("", "b"): ServiceCidr("b", ("fd00::/112",))})
    assert sorted(ranges.of(CONFIGURED)) == ["10.1.0.0/16", "fd00::/112"]
    ranges.table.replace({})
    assert not ranges.of(CONFIGURED)


@pytest.mark.parametrize("how", ["list before", "list", "not shown before", "not shown"])
async def test_nobody_waits_for_what_does_not_come(how: str) -> None:
    """A server of an older release has no such kind; its agents must program services all the same."""
    ranges = ServiceRanges()

    def answer() -> None:
        if how.startswith("list"):
            ranges.table.replace({})
        else:
            ranges.heard(False)

    if how.endswith("before"):
        answer()
    waiting = asyncio.ensure_future(ranges.wait())
    await asyncio.sleep(0)
    if not how.endswith("before"):
        assert not waiting.done()
        ranges.heard(True)
        await asyncio.sleep(0)
        assert not waiting.done()
        answer()
    async with asyncio.timeout(30):
        await waiting
