"""WATCH: changes as they become durable, one JSON line each; an event is encoded once for all who want its form.

A watcher is a position in the collection's ring: nothing waits for a slow one, and who falls behind gets 410.
"""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from clew.api.objects import Object
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import gone
from clew.cluster.apiserver.list_options import WatchWanted
from clew.cluster.apiserver.reading import Selection, as_table, partial
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.versions import as_stored, outward
from clew.cluster.storage import Collection, Compacted, Event, Record

BOOKMARK_EVERY = 60.0  # seconds
INITIAL_END = "k8s.io/initial-events-end"
_LOOK_AROUND = 15.0  # seconds of silence after which the caller may see whether its client is still there
_AT_ONCE = 500  # objects of the initial state that go out in one piece; the loop breathes in between


def _line(change: str, obj: bytes) -> bytes:
    return b'{"type":"' + change.encode() + b'","object":' + obj + b"}\n"


class Watch:
    """One client's watch."""

    def __init__(self, state: State, chosen: Selection, wanted: WatchWanted) -> None:
        self.state = state
        self.chosen = chosen
        self.wanted = wanted
        self._collection: Collection = state.storage.collection(storage_name(chosen.kind))
        self._raw = chosen.form == "object" and as_stored(state.catalog, chosen.kind)
        self._form = (chosen.kind.api_version, chosen.form, chosen.include)
        self._columns_sent = chosen.form != "table"
        self._definition = state.catalog.custom(chosen.kind)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Chunks of lines until the time is over, the server stops or the watcher has fallen behind.

        A chunk is empty when all was quiet for a while.
        """
        try:
            if self.wanted.initial:
                position, revision = self._collection.end, self.state.storage.revision
                records = [each for each in self._collection.scan(self.chosen.prefix) if self.chosen.takes(each)]
                for start in range(0, len(records), _AT_ONCE):
                    yield b"".join([self._existing(record) for record in records[start : start + _AT_ONCE]])
                    await asyncio.sleep(0)
                if self.wanted.marked:
                    yield self._bookmark(revision, initial=True)
            elif self.wanted.since is None:
                position = self._collection.end
            else:
                position = self._collection.position_after(self.wanted.since)
            async for chunk in self._changes(position):
                yield chunk
        except Compacted as old:
            yield _line("ERROR", msgspec.json.encode(gone(str(old)).status()))

    async def _changes(self, position: int) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.wanted.seconds
        bookmark_at = loop.time() + BOOKMARK_EVERY
        while (now := loop.time()) < ends and not self._is_over():
            events = self._collection.since(position)
            position += len(events)
            if chunk := b"".join([self._event(event) for event in events]):
                bookmark_at = now + BOOKMARK_EVERY
                yield chunk
            elif now >= bookmark_at:
                bookmark_at = now + BOOKMARK_EVERY
                if self.wanted.bookmarks:
                    yield self._bookmark(self.state.storage.revision, initial=False)
            if not events and not await self._collection.wait(position, min(ends - now, _LOOK_AROUND)):
                yield b""

    def _is_over(self) -> bool:
        """The server stops, or the kind is defined anew, so that its clients had better look at it again."""
        return self.state.stopping.is_set() or self.state.catalog.custom(self.chosen.kind) is not self._definition

    def _bookmark(self, revision: int, *, initial: bool) -> bytes:
        kind = self.chosen.kind
        meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            meta["annotations"] = {INITIAL_END: "true"}
        bare: Object = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        if self.chosen.form == "object":
            mark: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
            if "status" in kind.subresources:
                mark |= {"spec": {}, "status": {}}
        elif self.chosen.form == "partial":
            mark = bare
        else:
            mark = {
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": None, "rows": [{"cells": [], "object": bare}],
            }  # fmt: skip
        return _line("BOOKMARK", msgspec.json.encode(mark))

    def _existing(self, record: Record) -> bytes:
        return _line("ADDED", record.raw if self._raw else self._encoded(record.decode()))

    def _encoded(self, obj: Object) -> bytes:
        obj = outward(self.state.catalog, self.chosen.kind, obj)
        if self.chosen.form == "table":
            table = as_table(self.state, self.chosen, [obj])
            if self._columns_sent:
                table["columnDefinitions"] = None
            self._columns_sent = True
            return msgspec.json.encode(table)
        return msgspec.json.encode(partial(obj) if self.chosen.form == "partial" else obj)

    def _event(self, event: Event) -> bytes:
        """The event as this watcher sees it: what leaves a selection is DELETED, what enters it ADDED."""
        chosen = self.chosen
        if chosen.prefix and not event.record.key.startswith(chosen.prefix):
            return b""
        change: str = event.change
        if not chosen.everything:
            now = change != "DELETED" and chosen.takes(event.record)
            before = event.previous is not None and chosen.takes(event.previous)
            if not now and not before:
                return b""
            change = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        first = not self._columns_sent
        key = (change, self._form, first)
        line = event.encoded.get(key)
        if line is None:
            line = event.encoded[key] = self._made(event, change)
        self._columns_sent = True
        return line

    def _made(self, event: Event, change: str) -> bytes:
        if change == "DELETED" and event.change != "DELETED" and event.previous is not None:
            # It only left the selection: its watchers get the state they knew, under the new revision.
            obj = event.previous.decode()
            obj["metadata"]["resourceVersion"] = str(event.revision)
            return _line(change, self._encoded(obj))
        return _line(change, event.record.raw if self._raw else self._encoded(event.record.decode()))
