"""Keys that several owners may claim: who holds each, and what changes hands when an owner changes its mind.

Of several claims to one key the owner that sorts first holds it, whatever the order in which they were made; the rest
wait, and get it when the holder lets go. Owners that claim the same value share the key without a quarrel. Pure:
incremental use and one use from empty end in the same state.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Generic, TypeVar

O = TypeVar("O", bound=Any)  # noqa: E741  an owner; sortable
K = TypeVar("K")
V = TypeVar("V")


class Claims(Generic[O, K, V]):
    def __init__(self) -> None:
        self._by_key: dict[K, dict[O, V]] = {}
        self._by_owner: dict[O, tuple[K, ...]] = {}
        self._contested: set[K] = set()  # keys with several claimants

    @property
    def contested(self) -> AbstractSet[K]:
        """Keys that several owners claim; nobody who claims another has lost it."""
        return self._contested

    def claim(self, owner: O, claims: Mapping[K, V]) -> set[K]:
        """All that `owner` claims from now on (nothing: it is gone). Returns the keys whose holder or value changed."""
        changed: set[K] = set()
        for key in self._by_owner.get(owner, ()):
            if key not in claims:
                self._take(owner, key, None, changed)
        for key, value in claims.items():
            self._take(owner, key, value, changed)
        if claims:
            self._by_owner[owner] = tuple(claims)
        else:
            self._by_owner.pop(owner, None)
        return changed

    def get(self, key: K) -> tuple[O, V] | None:
        """The holder of `key` and its value; None where nobody claims it."""
        holders = self._by_key.get(key)
        if not holders:
            return None
        if len(holders) == 1:
            return next(iter(holders.items()))
        owner = min(holders)
        return owner, holders[owner]

    def claimants(self, key: K) -> Iterable[O]:
        """Everybody who claims `key`."""
        return self._by_key.get(key, {}).keys()

    def _take(self, owner: O, key: K, value: V | None, changed: set[K]) -> None:
        holders = self._by_key.setdefault(key, {})
        if not holders:  # the usual case: nobody else ever claims it
            if value is not None:
                holders[owner] = value
                changed.add(key)
            else:
                del self._by_key[key]
            return
        before = self.get(key)
        if value is None:
            holders.pop(owner, None)
        else:
            holders[owner] = value
        if self.get(key) != before:
            changed.add(key)
        if len(holders) > 1:
            self._contested.add(key)
        else:
            self._contested.discard(key)
        if not holders:
            del self._by_key[key]
