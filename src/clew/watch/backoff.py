"""Growing, jittered pauses between attempts, so that a crowd of clients does not return in step."""

from collections.abc import Callable
from secrets import SystemRandom

_uniform = SystemRandom().uniform


def between(low: float, high: float) -> float:
    """A random number, for spreading things in time."""
    return _uniform(low, high)


class Backoff:
    """The pause doubles from `least` to `most` seconds; half of it is random. `draw` gives a number in [0.5, 1]."""

    def __init__(
        self, least: float = 0.1, most: float = 5.0, draw: Callable[[], float] = lambda: between(0.5, 1.0)
    ) -> None:
        self._least = least
        self._most = most
        self._draw = draw
        self._next = least

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        pause = self._next * self._draw()
        self._next = min(self._most, self._next * 2)
        return pause

    def reset(self) -> None:
        """It worked: the next failure starts over."""
        self._next = self._least
