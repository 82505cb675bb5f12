"""Many writes for one object at once, carefully: a few first, then twice as many, and none after a failure.

So a quota or a webhook that refuses is asked a few times, not five hundred (kube's slow start).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from clew.watch.errors import ApiError

T = TypeVar("T")
FIRST = 4


async def slow_start(items: Sequence[T], write: Callable[[T], Awaitable[None]]) -> ApiError | None:
    """Run `write` on every item, in growing batches; the first error of the first batch that had one, or None."""
    done, size = 0, FIRST
    while done < len(items):
        part = items[done : done + size]
        results = await asyncio.gather(*(write(item) for item in part), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ApiError):
                raise result
        errors = [result for result in results if isinstance(result, ApiError)]
        if errors:
            return errors[0]
        done += len(part)
        size *= 2
    return None
