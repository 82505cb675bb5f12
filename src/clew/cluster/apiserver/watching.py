"""WATCH: changes as they become durable, one JSON line each.

A watcher is a position in the collection's ring: nothing waits for a slow one, and who falls behind gets 410.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from clew.cluster.apiserver.errors import gone
from clew.cluster.apiserver.feeds import Feed, line
from clew.cluster.apiserver.list_options import WatchWanted
from clew.cluster.storage import Compacted

if TYPE_CHECKING:
    from clew.api.objects import Object

BOOKMARK_EVERY = 60.0  # seconds
INITIAL_END = "k8s.io/initial-events-end"
_LOOK_AROUND = 15.0  # seconds of silence after which the caller may see whether its client is still there
_AT_ONCE = 500  # objects of the initial state that go out in one piece; the loop breathes in between


class Watch:
    """One client's watch."""

    def __init__(self, feed: Feed, wanted: WatchWanted) -> None:
        self.feed = feed
        self.state = feed.state
        self.wanted = wanted
        self._columns_due = feed.chosen.form == "table"

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Chunks of lines until the time is over, the server stops or the watcher has fallen behind.

        A chunk is empty when all was quiet for a while.
        """
        try:
            if self.wanted.initial:
                position, revision = self.feed.collection.end, self.state.storage.revision
                async for chunk in self._existing():
                    yield chunk
                if self.wanted.marked:
                    yield self._bookmark(revision, initial=True)
            elif self.wanted.since is None:
                position = self.feed.collection.end
            else:
                position = self.feed.collection.position_after(self.wanted.since)
            async for chunk in self._changes(position):
                yield chunk
        except Compacted as old:
            yield line("ERROR", msgspec.json.encode(gone(str(old)).status()))

    async def _existing(self) -> AsyncGenerator[bytes, None]:
        """All that was there when the watch began, whatever comes meanwhile."""
        chosen = self.feed.chosen
        records = [each for each in self.feed.collection.scan(chosen.prefix) if chosen.takes(each)]
        for start in range(0, len(records), _AT_ONCE):
            lines = []
            for record in records[start : start + _AT_ONCE]:
                lines.append(self.feed.existing(record, with_columns=self._columns_due))
                self._columns_due = False
            yield b"".join(lines)
            await asyncio.sleep(0)

    async def _changes(self, position: int) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.wanted.seconds
        bookmark_at = loop.time() + BOOKMARK_EVERY
        while (now := loop.time()) < ends and not self._is_over():
            before = position
            position, chunk = self.feed.read(position, with_columns=self._columns_due)
            if chunk:
                self._columns_due = False
                bookmark_at = now + BOOKMARK_EVERY
                yield chunk
            elif now >= bookmark_at and position == self.feed.collection.end:  # it promises all up to its version
                bookmark_at = now + BOOKMARK_EVERY
                if self.wanted.bookmarks:
                    yield self._bookmark(self.state.storage.revision, initial=False)
            if position == before and not await self.feed.collection.wait(position, min(ends - now, _LOOK_AROUND)):
                yield b""

    def _is_over(self) -> bool:
        """The server stops, or the kind is defined anew, so that its clients had better look at it again."""
        return (
            self.state.stopping.is_set() or self.state.catalog.custom(self.feed.chosen.kind) is not self.feed.definition
        )

    def _bookmark(self, revision: int, *, initial: bool) -> bytes:
        kind = self.feed.chosen.kind
        meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            meta["annotations"] = {INITIAL_END: "true"}
        bare: Object = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        if self.feed.chosen.form == "object":
            mark: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
            if "status" in kind.subresources:
                mark |= {"spec": {}, "status": {}}
        elif self.feed.chosen.form == "partial":
            mark = bare
        else:
            mark = {
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": None, "rows": [{"cells": [], "object": bare}],
            }  # fmt: skip
        return line("BOOKMARK", msgspec.json.encode(mark))
