"""Group commit: writes are decided on the loop, made durable by one thread, and only then seen or acknowledged.

A write is checked against `latest`, which includes what is still on its way to the disk, so that two writers never
both win; readers and watchers see only what is durable. When a batch fails, everything behind it fails with it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

from clew.base.errors import WorldError
from clew.cluster.storage.collection import Collection
from clew.cluster.storage.database import Database, Row
from clew.cluster.storage.records import Change, Event, Record

COMPACT_EVERY = 1000
MOST_A_BATCH = 500


class _Write(NamedTuple):
    resource: str
    event: Event
    done: "asyncio.Future[Record]"


class Storage:
    """All resources of one lab. Open it anywhere; use it on one running loop; close it there."""

    def __init__(self, database: Database, history: int, history_bytes: int) -> None:
        self._database = database
        self._history = history
        self._history_bytes = history_bytes
        self._collections: dict[str, Collection] = {}
        self._floor = database.compacted
        self.revision = database.revision  # the newest durable one
        self._next = self.revision + 1
        self._pending: dict[tuple[str, str], Event] = {}
        self._queue: list[_Write] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storage")
        self._writer: asyncio.Task[None] | None = None
        self._load()

    @classmethod
    def open(cls, path: Path, *, history: int = 10_000, history_bytes: int = 16 << 20) -> Self:
        """Open or create the database; `history` revisions (and bytes a resource) are kept for watches.

        Raises WorldError when the file cannot be used. Reads everything: about 30 ms a thousand objects.
        """
        return cls(Database(path), history, history_bytes)

    def _load(self) -> None:
        records: dict[int, Record] = {}
        for row in self._database.rows():
            record = Record(row.key, row.revision, row.value)
            records[row.revision] = record
            collection = self.collection(row.resource)
            if row.revision <= self._floor:
                collection.restore(record)
                continue
            previous = records.get(row.previous)
            collection.apply(Event(_change(previous, deleted=row.deleted), record, previous))

    def collection(self, resource: str) -> Collection:
        """The resource's current objects and changes; made empty when new."""
        found = self._collections.get(resource)
        if found is None:
            found = self._collections[resource] = Collection(self._floor, self._history, self._history_bytes)
        return found

    def latest(self, resource: str, key: str) -> Record | None:
        """What a write must be decided on: the newest state, durable or on its way. Do not await before the write."""
        pending = self._pending.get((resource, key))
        if pending is not None:
            return None if pending.change == "DELETED" else pending.record
        return self.collection(resource).items.get(key)

    async def put(self, resource: str, key: str, encode: Callable[[int], bytes]) -> Record:
        """Create or replace; `encode` gets the revision and gives the bytes. Returns once durable, else WorldError."""
        return await self._submit(resource, key, encode, deleted=False)

    async def delete(self, resource: str, key: str, encode: Callable[[int], bytes]) -> Record:
        """Remove; the bytes are the last state, as watchers will see it. Returns once durable, else WorldError."""
        return await self._submit(resource, key, encode, deleted=True)

    def _submit(
        self, resource: str, key: str, encode: Callable[[int], bytes], *, deleted: bool
    ) -> "asyncio.Future[Record]":
        loop = asyncio.get_running_loop()
        previous = self.latest(resource, key)
        record = Record(key, self._next, encode(self._next))
        self._next += 1
        event = Event(_change(previous, deleted=deleted), record, previous)
        self._pending[resource, key] = event
        done: asyncio.Future[Record] = loop.create_future()
        self._queue.append(_Write(resource, event, done))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write(), name="storage writer")
        return done

    async def _write(self) -> None:
        await asyncio.sleep(0)  # let the rest of this tick's requests join the batch
        loop = asyncio.get_running_loop()
        while self._queue:
            batch, self._queue = self._queue[:MOST_A_BATCH], self._queue[MOST_A_BATCH:]
            try:
                await loop.run_in_executor(self._thread, self._database.append, [_row(write) for write in batch])
            except WorldError as error:
                self._fail(batch, error)
            except Exception as error:
                self._fail(batch, WorldError(f"the storage failed: {error}"))
                raise
            else:
                self._publish(batch)
                await self._compact_when_due()

    def _publish(self, batch: list[_Write]) -> None:
        touched: set[str] = set()
        for resource, event, done in batch:
            self.collection(resource).apply(event)
            touched.add(resource)
            if self._pending.get((resource, event.record.key)) is event:
                del self._pending[resource, event.record.key]
            if not done.done():
                done.set_result(event.record)
        self.revision = batch[-1].event.revision
        for resource in touched:
            self._collections[resource].wake()

    def _fail(self, batch: list[_Write], error: WorldError) -> None:
        """What was queued meanwhile was decided on what now never was."""
        failed, self._queue = batch + self._queue, []
        self._pending.clear()
        for write in failed:
            if not write.done.done():
                write.done.set_exception(error)

    async def _compact_when_due(self) -> None:
        floor = self.revision - self._history
        if floor < self._floor + COMPACT_EVERY:
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._database.compact, floor)
        except WorldError:
            return  # a full disk refuses this as well; the next write says so to its client
        self._floor = floor

    def wake(self) -> None:
        """Let everybody who waits for a change look again; said when the server stops."""
        for collection in self._collections.values():
            collection.wake_all()

    async def close(self) -> None:
        """Waits for the writes under way."""
        if self._writer is not None:
            await self._writer
        self._thread.shutdown(wait=True)
        self._database.close()


def _change(previous: Record | None, *, deleted: bool) -> Change:
    if deleted:
        return "DELETED"
    return "ADDED" if previous is None else "MODIFIED"


def _row(write: _Write) -> Row:
    event = write.event
    previous = event.previous.revision if event.previous else 0
    return Row(event.revision, write.resource, event.record.key, previous, event.change == "DELETED", event.record.raw)
