"""When a container that keeps ending, or an image that cannot be had, is tried again. Pure; times are seconds.

Ten seconds, doubled each time, five minutes at most; ten quiet minutes are forgiven (kubelet, pod lifecycle docs).
"""

FIRST = 10.0
LONGEST = 300.0
FORGIVEN = 2 * LONGEST


class Backoff:
    """One container's or image's history."""

    def __init__(self, first: float = FIRST, longest: float = LONGEST) -> None:
        self._first = first
        self._longest = longest
        self._pause = 0.0
        self._updated = 0.0

    @property
    def pause(self) -> float:
        """Seconds between the last end and the next start; 0 before the first failure."""
        return self._pause

    def due(self, ended: float, now: float) -> float:
        """When it may be tried again, given when it ended; `now` or earlier means at once."""
        if not self._pause or now - self._updated > FORGIVEN:
            return now
        return ended + self._pause

    def started(self, now: float) -> None:
        """It is tried again: should it end, the next pause is longer."""
        if not self._pause or now - self._updated > FORGIVEN:
            self._pause = self._first
        else:
            self._pause = min(self._pause * 2, self._longest)
        self._updated = now
