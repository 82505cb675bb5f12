"""One piece of work per key at a time: who asks for what is being fetched waits for that and shares its outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """The first caller does the work in its own task; if it is cancelled, one of those waiting takes over."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[T]] = {}

    async def share(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `work`, or of the same work already under way; an exception is shared like a result."""
        while (ahead := self._under_way.get(key)) is not None:
            await asyncio.wait([ahead])
            if not ahead.cancelled():
                return ahead.result()
        mine: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way[key] = mine
        try:
            result = await work()
        except Exception as problem:
            mine.set_exception(problem)
            mine.exception()  # seen: nobody need be waiting
            raise
        except BaseException:
            mine.cancel()
            raise
        else:
            mine.set_result(result)
            return result
        finally:
            del self._under_way[key]
