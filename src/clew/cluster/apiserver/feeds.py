"""What watches of one selection are sent: each stretch of changes made once for all watches that stand at its start.

A thousand watches of one kind cost one encoding and a thousand sends. Called by watching alone.
"""

from typing import Any
from weakref import WeakValueDictionary

import msgspec

from clew.api.objects import Object
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.reading import Selection, as_table, partial
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.versions import as_stored, outward
from clew.cluster.storage import Collection, Event, Record

_PIECE = 64 << 10  # bytes, about what is handed to a connection at once, so that a slow one holds no more than that


def line(change: str, obj: bytes) -> bytes:
    return b'{"type":"' + change.encode() + b'","object":' + obj + b"}\n"


class Feed:
    """One selection's changes as lines."""

    def __init__(self, state: State, chosen: Selection) -> None:
        self.state = state
        self.chosen = chosen
        self.collection: Collection = state.storage.collection(storage_name(chosen.kind))
        self.definition = state.catalog.custom(chosen.kind)
        self._raw = chosen.form == "object" and as_stored(state.catalog, chosen.kind)
        self._form = (chosen.kind.api_version, chosen.form, chosen.include)
        self._prefix = chosen.prefix
        self._everything = chosen.everything
        self._made: tuple[int, int, int, bytes] = (-1, -1, -1, b"")  # from, end of the ring then, to, lines

    def read(self, position: int, *, with_columns: bool = False) -> tuple[int, bytes]:
        """The position after some changes, and their lines: nothing of what is not selected. Raises Compacted.

        `with_columns` for the first lines that a watch of a Table gets.
        """
        start, end, after, lines = self._made
        if start == position and end == self.collection.end and not with_columns:
            return after, lines
        after, lines = self._lines(position, with_columns=with_columns)
        if not with_columns:
            self._made = (position, self.collection.end, after, lines)
        return after, lines

    def _lines(self, position: int, *, with_columns: bool) -> tuple[int, bytes]:
        found: list[bytes] = []
        size = 0
        for event in self.collection.since(position):
            position += 1
            told = self._event(event, with_columns=with_columns)
            if told:
                with_columns = False
                found.append(told)
                size += len(told)
                if size > _PIECE:
                    break
        return position, b"".join(found)

    def existing(self, record: Record, *, with_columns: bool = False) -> bytes:
        """An object that was there before the watch."""
        return line("ADDED", record.raw if self._raw else self._encoded(record.decode(), with_columns=with_columns))

    def _event(self, event: Event, *, with_columns: bool) -> bytes:
        """The event as its watchers see it: what leaves a selection is DELETED, what enters it ADDED."""
        chosen = self.chosen
        if self._prefix and not event.record.key.startswith(self._prefix):
            return b""
        change: str = event.change
        if not self._everything:
            now = change != "DELETED" and chosen.takes(event.record)
            before = event.previous is not None and chosen.takes(event.previous)
            if not now and not before:
                return b""
            change = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        key: Any = (change, self._form, with_columns)
        told = event.encoded.get(key)
        if told is None:
            told = event.encoded[key] = self._told(event, change, with_columns=with_columns)
        return told

    def _told(self, event: Event, change: str, *, with_columns: bool) -> bytes:
        if change == "DELETED" and event.change != "DELETED" and event.previous is not None:
            # It only left the selection: its watchers get the state they knew, under the new revision.
            obj = event.previous.decode()
            obj["metadata"]["resourceVersion"] = str(event.revision)
            return line(change, self._encoded(obj, with_columns=with_columns))
        if self._raw:
            return line(change, event.record.raw)
        return line(change, self._encoded(event.record.decode(), with_columns=with_columns))

    def _encoded(self, obj: Object, *, with_columns: bool) -> bytes:
        obj = outward(self.state.catalog, self.chosen.kind, obj)
        if self.chosen.form == "table":
            table = as_table(self.state, self.chosen, [obj])
            if not with_columns:
                table["columnDefinitions"] = None
            return msgspec.json.encode(table)
        return msgspec.json.encode(partial(obj) if self.chosen.form == "partial" else obj)


class Feeds:
    """Every feed that some watch reads."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._known: WeakValueDictionary[Selection, Feed] = WeakValueDictionary()

    def of(self, chosen: Selection) -> Feed:
        found = self._known.get(chosen)
        if found is None or found.definition is not self.state.catalog.custom(chosen.kind):
            found = self._known[chosen] = Feed(self.state, chosen)
        return found
