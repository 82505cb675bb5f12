"""A collection of the API server in memory, as plain objects, with indexes: what controllers read.

Not the agents' store (they keep trimmed facts): a controller writes objects back and needs all of their fields.
Objects in it are shared and must not be changed; `clone` first. Subscribers are told (before, after) once a change,
after the cache has it, and only to find out which keys to reconcile: what to do is decided from the cache.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from clew.api.kinds import Kind
from clew.api.objects import Key, Object, key_of, metadata
from clew.base.clock import Clock
from clew.watch.client import typed
from clew.watch.reflector import Reflector, Source

logger = logging.getLogger(__name__)

Index = Callable[[Object], Iterable[str]]
Handler = Callable[[Object | None, Object | None], None]
Trim = Callable[[bytes], Object]


def whole(data: bytes) -> Object:
    """The object without managedFields, which are a third of it and which a server keeps when an update omits them."""
    obj: Object = msgspec.json.decode(data)
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """One kind, in one namespace or all. `indexes` maps a name to the values that an object is found under."""

    def __init__(
        self,
        client: Source,
        kind: Kind,
        *,
        fields: str = "",
        indexes: Mapping[str, Index] | None = None,
        trim: Trim = whole,
        clock: Clock | None = None,
    ) -> None:
        self.kind = kind
        self.revision = 0  # the cache holds every change up to this one
        self._items: dict[Key, Object] = {}
        self._indexes: dict[str, Index] = dict(indexes or {})
        self._buckets: dict[str, dict[str, dict[Key, Object]]] = {name: {} for name in self._indexes}
        self._handlers: list[Handler] = []
        self._trim = trim
        self._synced = asyncio.Event()
        self._pending = 0
        self._reflector: Reflector[Object] = Reflector(
            client, kind, self._decode, self, fields=fields, clock=clock, progress=self._progressed
        )

    async def run(self) -> None:
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Until the first list is in."""
        await self._synced.wait()

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    def subscribe(self, handler: Handler) -> None:
        """`handler(before, after)`; before is None for what is new, after for what is gone. Call it before `run`."""
        self._handlers.append(handler)

    def add_index(self, name: str, index: Index) -> None:
        """Another way to find objects; adding one of the same name again changes nothing. Before `run`."""
        if name not in self._indexes:
            self._indexes[name] = index
            self._buckets[name] = {}
            for key, obj in self._items.items():
                for value in index(obj):
                    self._buckets[name].setdefault(value, {})[key] = obj

    # Reading.

    def get(self, namespace: str, name: str) -> Object | None:
        return self._items.get((namespace, name))

    def items(self) -> Collection[Object]:
        return self._items.values()

    def __len__(self) -> int:
        return len(self._items)

    def by(self, index: str, value: str) -> Collection[Object]:
        """The objects under a value of an index; do not await while iterating."""
        found = self._buckets[index].get(value)
        return found.values() if found else ()

    def count(self, index: str, value: str) -> int:
        return len(self._buckets[index].get(value, ()))

    # The reflector's sink.

    def replace(self, items: Mapping[Key, Object]) -> None:
        before, self._items = self._items, dict(items)
        for buckets in self._buckets.values():
            buckets.clear()
        for key, obj in items.items():
            self._enter(key, obj)
        for key, old in before.items():
            if key not in items:
                self._tell(old, None)
        for key, new in items.items():
            was = before.get(key)
            if was is None or metadata(was).get("resourceVersion") != metadata(new).get("resourceVersion"):
                self._tell(was, new)

    def put(self, key: Key, fact: Object | None) -> None:
        before = self._items.pop(key, None)
        if before is not None:
            self._leave(key, before)
        if fact is not None:
            self._items[key] = fact
            self._enter(key, fact)
        self.revision = max(self.revision, self._pending)
        if before is not None or fact is not None:
            self._tell(before, fact)

    def _decode(self, data: bytes) -> tuple[Key, Object]:
        obj = typed(self.kind, self._trim(data))
        version = metadata(obj).get("resourceVersion") or ""
        if version.isdigit():
            self._pending = int(version)
        return key_of(obj), obj

    def _progressed(self, version: str) -> None:
        if version.isdigit():
            self.revision = max(self.revision, int(version))
        self._synced.set()

    def _enter(self, key: Key, obj: Object) -> None:
        for name, index in self._indexes.items():
            buckets = self._buckets[name]
            for value in index(obj):
                buckets.setdefault(value, {})[key] = obj

    def _leave(self, key: Key, obj: Object) -> None:
        for name, index in self._indexes.items():
            buckets = self._buckets[name]
            for value in index(obj):
                bucket = buckets.get(value)
                if bucket is not None and bucket.pop(key, None) is not None and not bucket:
                    del buckets[value]

    def _tell(self, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and _uid(before) != _uid(after):
            self._tell(before, None)
            before = None
        for handler in self._handlers:
            try:
                handler(before, after)
            except Exception:
                # A subscriber's fault must not stop the cache that the others live on.
                logger.exception("a subscriber of %s failed on %s", self.kind.plural, key_of(after or before or {}))


def _uid(obj: Mapping[str, Any]) -> Any:
    return metadata(obj).get("uid")
