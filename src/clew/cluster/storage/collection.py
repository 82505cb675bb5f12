"""The objects of one resource in memory, in the order of their keys, and the ring of their recent changes.

A watcher is a position in the ring: publishing costs one append however many watch, and who falls behind the ring's
tail is told that its position was compacted. Nothing here waits for a watcher.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from operator import attrgetter

from clew.cluster.storage.records import Event, Record

_revision = attrgetter("revision")
# With many sleepers, waking them is the cost. So many are woken in one turn of the loop, which then looks at its
# sockets: fan-out takes a share of the loop and never all of it, and what is written meanwhile joins the round.
A_TURN = 25


class Compacted(Exception):  # noqa: N818  # named as the protocol names it; it is an answer, not a fault
    """The revision asked for is older than what is kept; `oldest` is what may be asked for."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


class Collection:
    """One resource. `limit` and `limit_bytes` bound the ring."""

    def __init__(self, floor: int, limit: int, limit_bytes: int) -> None:
        self.items: dict[str, Record] = {}
        self.changed = 0  # the revision of the newest change
        self._order: list[str] = []
        self._events: list[Event] = []
        self._base = 0  # the position of _events[0]
        self._floor = floor  # changes after this revision are in the ring
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._sleepers: dict[asyncio.Future[None], int] = {}  # to their positions, who sleeps longest first
        self._round: asyncio.Handle | None = None

    def restore(self, record: Record) -> None:
        """Put a record as loaded, without an event."""
        if record.key not in self.items:
            insort(self._order, record.key)
        self.items[record.key] = record
        self.changed = max(self.changed, record.revision)

    def apply(self, event: Event) -> None:
        """A durable change: into the current view and the ring. Call `wake` after a batch of them."""
        key = event.record.key
        if event.change == "DELETED":
            if self.items.pop(key, None) is not None:
                del self._order[bisect_left(self._order, key)]
        else:
            self.restore(event.record)
        self.changed = event.revision
        self._events.append(event)
        self._bytes += len(event.record.raw)
        if len(self._events) > 2 * self._limit or self._bytes > 2 * self._limit_bytes:
            self._trim()

    def _trim(self) -> None:
        keep, size = 0, 0
        for event in reversed(self._events):
            size += len(event.record.raw)
            if keep >= self._limit or size > self._limit_bytes:
                size -= len(event.record.raw)
                break
            keep += 1
        drop = len(self._events) - keep
        if drop:
            self._floor = self._events[drop - 1].revision
            del self._events[:drop]
            self._base += drop
            self._bytes = size

    # Reading the current view.

    def scan(self, prefix: str = "", after: str = "") -> Iterator[Record]:
        """Records whose key starts with `prefix`, in order, after the key `after`. Do not await while iterating."""
        order = self._order
        start = bisect_right(order, after) if after else 0
        if prefix:
            start = max(start, bisect_left(order, prefix))
        for index in range(start, len(order)):
            key = order[index]
            if prefix and not key.startswith(prefix):
                return
            yield self.items[key]

    def count(self, prefix: str = "") -> int:
        if not prefix:
            return len(self._order)
        return bisect_left(self._order, prefix[:-1] + chr(ord(prefix[-1]) + 1)) - bisect_left(self._order, prefix)

    def at(self, revision: int) -> "Collection":
        """The collection as it was at `revision`, by undoing the ring; raises Compacted."""
        if revision >= self.changed:
            return self
        if revision < self._floor:
            raise Compacted(revision, self._floor)
        past = Collection(0, 0, 0)
        past.items = dict(self.items)
        for event in reversed(self._events):
            if event.revision <= revision:
                break
            if event.previous is None:
                past.items.pop(event.record.key, None)
            else:
                past.items[event.record.key] = event.previous
        past._order = sorted(past.items)
        past.changed = revision
        return past

    # Following the ring.

    @property
    def end(self) -> int:
        """The position after the newest event."""
        return self._base + len(self._events)

    def position_after(self, revision: int) -> int:
        """Where to start to see every change after `revision`; raises Compacted."""
        if revision < self._floor:
            raise Compacted(revision, self._floor)
        return self._base + bisect_right(self._events, revision, key=_revision)

    def since(self, position: int, most: int = 1000) -> list[Event]:
        """Up to `most` events from `position` on; raises Compacted when the ring has moved past it."""
        if position < self._base:
            raise Compacted(self._floor - 1, self._floor)
        start = position - self._base
        return self._events[start : start + most]

    def wake(self) -> None:
        """Tell who sleeps that there is something new."""
        if self._sleepers and self._round is None:
            self._wake_some()

    def _wake_some(self) -> None:
        """Those who have slept longest, until one is met who knows everything."""
        self._round = None
        for _ in range(A_TURN):
            sleeper = next(iter(self._sleepers), None)
            if sleeper is None or self._sleepers[sleeper] >= self.end:
                return
            del self._sleepers[sleeper]
            if not sleeper.done():
                sleeper.set_result(None)
        self._round = asyncio.get_running_loop().call_soon(self._wake_some)

    def wake_all(self) -> None:
        """Tell everybody to look around, whether or not there is something new."""
        sleepers, self._sleepers = self._sleepers, {}
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    async def wait(self, position: int, timeout: float) -> bool:  # noqa: ASYNC109  # a timer per call is cheaper than a scope
        """Sleep until there are events from `position` on, or `timeout` seconds; True when there are."""
        if self.end > position:
            return True
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        self._sleepers[sleeper] = position
        timer = loop.call_later(timeout, _give_up, sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleepers.pop(sleeper, None)
        return self.end > position


def _give_up(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
