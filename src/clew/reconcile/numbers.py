"""Numbers for names: which set of backends is 7, which way is 8193. Kept across restarts by reading them back.

A name keeps its number for as long as it is used; a number is given out again when its name has gone. Numbers live in
the kernel too (in handles, beside the name in the element's comment), so a restarted agent adopts them first and then
finds nothing to change.
"""

import heapq
from collections.abc import Mapping

from clew.base.errors import WorldError


class NumbersExhaustedError(WorldError):
    """More names than the layout has numbers for."""


class Numbers:
    """Numbers from `first` to below `end`."""

    def __init__(self, first: int, end: int) -> None:
        self._first, self._end = first, end
        self._next = first
        self._free: list[int] = []
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    @property
    def names(self) -> Mapping[int, str]:
        return self._names

    def get(self, name: str) -> int | None:
        return self._numbers.get(name)

    def of(self, name: str) -> int:
        """The name's number, a new one where it has none."""
        number = self._numbers.get(name)
        return self._give(name) if number is None else number

    def adopt(self, name: str, number: int) -> bool:
        """Take over a pair that the kernel already has; False where it contradicts what is known."""
        if not self._first <= number < self._end:
            return False
        if name in self._numbers or number in self._names:
            return self._numbers.get(name) == number
        for skipped in range(self._next, number):
            heapq.heappush(self._free, skipped)
        self._next = max(self._next, number + 1)
        self._numbers[name] = number
        self._names[number] = name
        return True

    def release(self, name: str) -> None:
        """Nobody uses the name any more; unknown names are fine."""
        number = self._numbers.pop(name, None)
        if number is not None:
            del self._names[number]
            heapq.heappush(self._free, number)

    def _give(self, name: str) -> int:
        while self._free and self._free[0] in self._names:  # adopted meanwhile
            heapq.heappop(self._free)
        if self._free:
            number = heapq.heappop(self._free)
        elif self._next < self._end:
            number = self._next
            self._next += 1
        else:
            raise NumbersExhaustedError(f"no number left for {name}: all {self._end - self._first} are in use")
        self._numbers[name] = number
        self._names[number] = name
        return number
