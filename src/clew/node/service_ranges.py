"""Which ranges cluster addresses come from: those of the ServiceCIDR objects, or of the configuration.

The objects are the truth where the API server has them; where it does not serve the kind, or may not show it to us,
the configured ranges hold. Filled by a reflector, read by node/proxy.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clew.store import Table

if TYPE_CHECKING:
    from clew.facts.servicecidr import ServiceCidr


class ServiceRanges:
    """`table` is for the reflector, `heard` for its health."""

    def __init__(self) -> None:
        self.table: Table[ServiceCidr] = Table("servicecidrs")
        self._answered = asyncio.Event()

    def heard(self, well: bool, /) -> None:  # noqa: FBT001 - as a reflector says it
        """Whether the API server shows its ServiceCIDRs."""
        if not well:
            self._answered.set()

    async def wait(self) -> None:
        """Until there is a list, or it is clear that there is none for now."""
        leave = self.table.on_change(self._answered.set)
        try:
            if not self.table.in_sync:
                await self._answered.wait()
        finally:
            leave()

    def of(self, configured: Sequence[str]) -> Sequence[str]:
        """The ranges at present."""
        if not self.table.in_sync:
            return configured
        return [cidr for _, fact in self.table.items() for cidr in fact.cidrs]


def unwatched() -> ServiceRanges:
    """Where nobody watches the objects."""
    ranges = ServiceRanges()
    ranges.heard(False)
    return ranges
