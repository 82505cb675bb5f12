"""Pods that wait for a node: those to try now, by priority and age, and those that wait for something to change."""

from collections.abc import Iterable
from itertools import count

from clew.api.objects import Key, Object, dig, key_of, metadata


class Pending:
    """By namespace and name. A pod is in one of the two halves."""

    def __init__(self) -> None:
        self._active: dict[Key, tuple[int, str, int]] = {}
        self._waiting: set[Key] = set()
        self._arrival = count()

    def add(self, pod: Object) -> None:
        """To be tried: it is new, or something of its own changed."""
        key = key_of(pod)
        self._waiting.discard(key)
        priority = int(dig(pod, "spec", "priority") or 0)
        rank = (-priority, str(metadata(pod).get("creationTimestamp") or ""), next(self._arrival))
        self._active.setdefault(key, rank)

    def drop(self, key: Key) -> None:
        self._active.pop(key, None)
        self._waiting.discard(key)

    def wait(self, key: Key) -> None:
        """It was tried and fits nowhere."""
        self._waiting.add(key)

    def take(self) -> list[Key]:
        """All that are to be tried, in order; they leave."""
        found = sorted(self._active, key=self._active.__getitem__)
        self._active.clear()
        return found

    @property
    def waiting(self) -> Iterable[Key]:
        return self._waiting

    def __bool__(self) -> bool:
        return bool(self._active)
