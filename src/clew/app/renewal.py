"""When a long-lived process needs new certificates: near their end its authority makes others, and it begins anew."""

import asyncio
from collections.abc import Callable

from clew.base.clock import Clock
from clew.cluster.ca import Credential

_LOOK_EVERY = 12 * 3600.0  # seconds; in steps, since a machine that slept is behind on its timers


async def until_renewed(current: Callable[[], Credential], clock: Clock) -> None:
    """Return when `current` (blocking; the authority's own answer) is another credential than it was at first."""
    served = await asyncio.to_thread(current)
    while await asyncio.to_thread(current) == served:
        await clock.sleep(_LOOK_EVERY)
