"""Desired beside actual, and their difference: the one diff that every backend uses. Does not touch a kernel.

Three states of a key that differs: to be put (`updates`), to be removed (`deletions`), and `draining`: unwanted, but
still in use, to be looked at again when the world was read back. Both sides take single keys and whole mappings; the
difference is kept as they change, so asking for it costs nothing when nothing differs.

    updates    = keys wanted with a value that the world does not have
    deletions  = keys that the world has, nobody wants, and nobody uses
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _never(_key: object, _value: object) -> bool:
    return False


class DeltaMap(Generic[K, V]):
    """`in_use(key, actual value)` says whether an unwanted entry must stay for now; it must be pure."""

    def __init__(self, in_use: Callable[[K, V], bool] = _never) -> None:
        self._in_use = in_use
        self._desired: dict[K, V] = {}
        self._actual: dict[K, V] = {}
        self._updates: dict[K, V] = {}
        self._deletions: set[K] = set()
        self._draining: set[K] = set()

    @property
    def desired(self) -> Mapping[K, V]:
        return self._desired

    @property
    def actual(self) -> Mapping[K, V]:
        return self._actual

    @property
    def updates(self) -> Mapping[K, V]:
        """What to put into the world, in the order in which it was wanted."""
        return self._updates

    @property
    def deletions(self) -> AbstractSet[K]:
        return self._deletions

    @property
    def draining(self) -> AbstractSet[K]:
        return self._draining

    def __bool__(self) -> bool:
        """Whether there is something to do now."""
        return bool(self._updates or self._deletions)

    def __iter__(self) -> Iterator[K]:
        """Every key that differs, draining ones included."""
        yield from self._updates
        yield from self._deletions
        yield from self._draining

    def want(self, key: K, value: V | None) -> None:
        """One key of the desired side; None: it should not be there."""
        if value is None:
            self._desired.pop(key, None)
        else:
            self._desired[key] = value
        self._compare(key)

    def want_each(self, entries: Mapping[K, V]) -> None:
        """Several keys of the desired side at once."""
        self._desired.update(entries)
        if not self._actual:  # a start from nothing
            self._updates.update(entries)
            return
        for key, value in entries.items():
            if self._actual.get(key) == value:
                self._updates.pop(key, None)
            else:
                self._updates[key] = value
        for unwanted in (self._deletions, self._draining):
            if unwanted:
                unwanted.difference_update(entries)

    def found(self, key: K, value: V | None) -> None:
        """One key as read back from the world; None: it is not there."""
        if value is None:
            self._actual.pop(key, None)
        else:
            self._actual[key] = value
        self._compare(key)

    def want_whole(self, desired: Mapping[K, V]) -> None:
        """The whole desired side."""
        self._desired = dict(desired)
        self._compare_whole()

    def found_whole(self, actual: Mapping[K, V]) -> None:
        """The whole world as read back."""
        self._actual = dict(actual)
        self._compare_whole()

    def done(self, key: K) -> None:
        """The world took what was asked for this key: it is as wanted now."""
        self.found(key, self._desired.get(key))

    def done_whole(self) -> None:
        """The world took all updates and deletions, in one transaction."""
        self._actual.update(self._updates)
        for key in self._deletions:
            self._actual.pop(key, None)
        self._updates.clear()
        self._deletions.clear()

    def _compare(self, key: K) -> None:
        self._updates.pop(key, None)
        self._deletions.discard(key)
        self._draining.discard(key)
        wanted = self._desired.get(key)
        actual = self._actual.get(key)
        if wanted is not None:
            if wanted != actual:
                self._updates[key] = wanted
        elif actual is not None:
            (self._draining if self._in_use(key, actual) else self._deletions).add(key)

    def _compare_whole(self) -> None:
        actual, desired = self._actual, self._desired
        self._updates = {key: value for key, value in desired.items() if actual.get(key) != value}
        unwanted = actual.keys() - desired.keys()
        self._draining = {key for key in unwanted if self._in_use(key, actual[key])}
        self._deletions = unwanted - self._draining
