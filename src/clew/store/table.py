"""One table of facts in memory: what is there now, what changed since, and whether the first list has arrived.

State, not history: a reader that was away sees only that a key changed, never how often. A table knows no kind and
holds no lock; it lives on the event loop's thread. Written by one reflector (`replace` after a list, `put` after a
watch event), read by everyone else. Values are frozen, so a snapshot is a reference.
"""

import asyncio
from collections.abc import Callable, Hashable, ItemsView, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

Key = tuple[str, str]  # namespace ("" where the kind has none), name
F = TypeVar("F")

TOMBSTONES = 65_536  # deletions remembered for readers that are behind; each costs about 150 bytes


class StaleRevisionError(LookupError):
    """The reader is so far behind that deletions it never saw were forgotten: read the whole table again."""


class Index(Generic[F]):
    """Keys by something computed from the fact, such as the Service that an EndpointSlice belongs to."""

    def __init__(self, of: Callable[[F], Iterable[Hashable]]) -> None:
        self._of = of
        self._keys: dict[Hashable, set[Key]] = {}

    def get(self, value: Hashable) -> AbstractSet[Key]:
        """The keys whose fact has `value`; empty where none has."""
        return self._keys.get(value, frozenset())

    def values(self) -> Iterable[Hashable]:
        """Everything that at least one fact is indexed under."""
        return self._keys.keys()

    def move(self, key: Key, before: F | None, after: F | None) -> None:
        """Called by the table for every change."""
        gone = () if before is None else self._of(before)
        come = () if after is None else self._of(after)
        for value in gone:
            keys = self._keys.get(value)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._keys[value]
        for value in come:
            self._keys.setdefault(value, set()).add(key)


class Table(Generic[F]):
    """Facts by key, with a revision that grows by one per change."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._facts: dict[Key, F] = {}
        self._changed: dict[Key, int] = {}  # key -> revision of its last change, oldest first; deleted keys stay
        self._deleted = 0
        self._revision = 0
        self._forgotten = 0  # deletions up to this revision are no longer known
        self._indexes: list[Index[F]] = []
        self._listeners: list[Callable[[], None]] = []
        self._synced = asyncio.Event()

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, key: Key) -> bool:
        return key in self._facts

    def get(self, key: Key) -> F | None:
        return self._facts.get(key)

    def items(self) -> ItemsView[Key, F]:
        """A live view; copy it before awaiting."""
        return self._facts.items()

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def in_sync(self) -> bool:
        """Whether a complete list has arrived since the program started: nothing may be swept before."""
        return self._synced.is_set()

    async def wait_in_sync(self) -> None:
        await self._synced.wait()

    def index(self, of: Callable[[F], Iterable[Hashable]]) -> Index[F]:
        """A secondary index, kept up to date from now on."""
        index = Index(of)
        for key, fact in self._facts.items():
            index.move(key, None, fact)
        self._indexes.append(index)
        return index

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change and when the first list arrives; returns the function that ends it.

        It must be quick and may not raise: an event's `set`.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def put(self, key: Key, fact: F | None) -> None:
        """The fact as it is now; None where it is not there. Putting what is there already changes nothing."""
        if self._set(key, fact):
            self._tell()

    def replace(self, items: Mapping[Key, F]) -> None:
        """The whole table, from a complete list: what is not in `items` is not there. Marks the table as in sync."""
        changed = False
        for key in [key for key in self._facts if key not in items]:
            changed |= self._set(key, None)
        for key, fact in items.items():
            changed |= self._set(key, fact)
        first = not self._synced.is_set()
        self._synced.set()
        if changed or first:
            self._tell()

    def changes_since(self, revision: int) -> tuple[set[Key], int]:
        """The keys that changed after `revision`, deleted ones included, and the revision to ask from next time.

        StaleRevisionError where deletions after `revision` have been forgotten; revision 0 is never stale, since a
        reader who has seen nothing needs no deletions.
        """
        if 0 < revision < self._forgotten:
            raise StaleRevisionError(f"table {self.name}: revision {revision} is older than {self._forgotten}")
        changed: set[Key] = set()
        for key in reversed(self._changed):
            if self._changed[key] <= revision:
                break
            changed.add(key)
        return changed, self._revision

    def _set(self, key: Key, fact: F | None) -> bool:
        before = self._facts.get(key)
        if before == fact:
            return False
        if fact is None:
            del self._facts[key]
            self._deleted += 1
        else:
            self._facts[key] = fact
            if before is None and key in self._changed:
                self._deleted -= 1
        self._changed.pop(key, None)  # to the young end of the order
        self._revision += 1
        self._changed[key] = self._revision
        for index in self._indexes:
            index.move(key, before, fact)
        if self._deleted > TOMBSTONES:
            self._forget()
        return True

    def _forget(self) -> None:
        """Drop the older half of the deletions."""
        dead = [key for key in self._changed if key not in self._facts]
        for key in dead[: len(dead) // 2]:
            self._forgotten = self._changed.pop(key)
            self._deleted -= 1

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()
