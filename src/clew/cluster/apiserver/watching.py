"""WATCH: changes as they become durable, one JSON line each; an event is encoded once for all who want its form.

A watcher is a position in the collection's ring: nothing waits for a slow one, and who falls behind gets 410.
"""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from clew.api.objects import Object
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import ApiRefusal, gone
from clew.cluster.apiserver.reading import Selection, list_page, shaped
from clew.cluster.apiserver.state import State
from clew.cluster.storage import Collection, Compacted, Event

BOOKMARK_EVERY = 60.0  # seconds
INITIAL_END = "k8s.io/initial-events-end"


def _line(kind: str, obj: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + obj + b"}\n"


class Watch:
    """One client's watch."""

    def __init__(self, state: State, chosen: Selection, *, bookmarks: bool, seconds: float) -> None:
        self.state = state
        self.chosen = chosen
        self.bookmarks = bookmarks
        self.seconds = seconds
        self._collection: Collection = state.storage.collection(storage_name(chosen.kind))
        self._first_table = True

    async def lines(self, version: str, *, initial: bool, replay: bool) -> AsyncGenerator[bytes, None]:
        """Chunks of lines until the time is over or the server stops.

        `initial`: all that exists first, then a bookmark that says so (KEP-3157); `replay`: all that exists first.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.seconds
        try:
            if initial or replay:
                position = self._collection.end
                revision = self.state.storage.revision
                yield self._existing(revision, mark=initial)
            else:
                position = self._collection.position_after(int(version))
            quiet_until = loop.time() + BOOKMARK_EVERY
            while (now := loop.time()) < ends and not self.state.stopping.is_set():
                events = self._collection.since(position)
                position += len(events)
                chunk = b"".join(line for event in events if (line := self._event(event)))
                if chunk:
                    quiet_until = now + BOOKMARK_EVERY
                    yield chunk
                elif now >= quiet_until and self.bookmarks:
                    quiet_until = now + BOOKMARK_EVERY
                    yield self._bookmark(self.state.storage.revision, initial=False)
                if not events:
                    await self._collection.wait(position, min(ends, quiet_until) - now + 0.001)
        except Compacted as old:
            yield _line("ERROR", msgspec.json.encode(gone(str(old)).status()))
        except ApiRefusal as refusal:
            yield _line("ERROR", msgspec.json.encode(refusal.status()))

    def _existing(self, revision: int, *, mark: bool) -> bytes:
        page = list_page(self.state, self.chosen, 0, "")
        lines = [_line("ADDED", self._object(record.decode())) for record in page.records]
        if mark:
            lines.append(self._bookmark(revision, initial=True))
        return b"".join(lines)

    def _bookmark(self, revision: int, *, initial: bool) -> bytes:
        kind = self.chosen.kind
        meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            meta["annotations"] = {INITIAL_END: "true"}
        mark: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        if self.chosen.form == "table":
            row = {
                "cells": [],
                "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta},
            }
            mark = {
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": None, "rows": [row],
            }  # fmt: skip
        return _line("BOOKMARK", msgspec.json.encode(mark))

    def _object(self, obj: Object) -> bytes:
        made = shaped(self.state, self.chosen, obj)
        if self.chosen.form == "table":
            if not self._first_table:
                made["columnDefinitions"] = None
            self._first_table = False
        return msgspec.json.encode(made)

    def _event(self, event: Event) -> bytes:
        """The event as this watcher sees it: what leaves a selection is DELETED, what enters it ADDED."""
        chosen = self.chosen
        if chosen.prefix and not event.record.key.startswith(chosen.prefix):
            return b""
        change: str = event.change
        if not chosen.everything:
            obj = event.record.decode()
            now = change != "DELETED" and chosen.takes(obj)
            before = event.previous is not None and chosen.takes(event.previous.decode())
            if not now and not before:
                return b""
            change = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        if chosen.form == "object" and chosen.kind.group != "events.k8s.io":
            line = event.encoded.get(change)
            if line is None:
                line = event.encoded[change] = _line(change, event.record.raw)
            return line
        return _line(change, self._object(event.record.decode()))
