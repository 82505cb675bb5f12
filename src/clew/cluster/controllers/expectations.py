"""Whether a cache has caught up with what its controller wrote: no decision is made on a view older than one's own act.

Without it a ReplicaSet that has just created its pods would see none of them yet and create them again. What was
created or changed is seen once the cache is at that revision; what was deleted, once it is gone or going.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from clew.api.objects import Object, is_deleting, key_of, metadata, uid_of
from clew.base.clock import Clock
from clew.watch.errors import ApiError, Unreachable
from clew.watch.informer import Informer

K = TypeVar("K", bound=Hashable)

EXPIRES = 300.0  # seconds, as client-go's; a watch that is silent for so long is not only slow
UNSURE = 2.0  # seconds; a write whose answer was lost shows in the cache by then, if it was done
LOOK_AGAIN = 1.0  # seconds; the event that is waited for normally comes first


class Expectations(Generic[K]):
    """By key of the object reconciled; about objects in one cache."""

    def __init__(self, cache: Informer, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._revision: dict[K, int] = {}
        self._gone: dict[K, dict[str, tuple[str, str]]] = {}
        self._since: dict[K, float] = {}
        self._unsure: dict[K, float] = {}

    def wrote(self, key: K, obj: Object) -> None:
        """The server's answer to a creation or a change."""
        version = metadata(obj).get("resourceVersion") or ""
        if version.isdigit():
            self._revision[key] = max(self._revision.get(key, 0), int(version))
            self._since[key] = self._clock.monotonic()

    def deleted(self, key: K, obj: Object) -> None:
        """A deletion that the server accepted."""
        self._gone.setdefault(key, {})[uid_of(obj)] = key_of(obj)
        self._since[key] = self._clock.monotonic()

    def failed(self, key: K, error: ApiError) -> None:
        """A write that failed; one whose answer was lost may have been done all the same."""
        if isinstance(error, Unreachable):
            self._unsure[key] = self._clock.monotonic() + UNSURE

    def unsure(self, key: K) -> float | None:
        """Seconds for which nothing more may be created, since something may have been; None when it is clear.

        Only creating is unsafe: a name is generated anew each time, while changes and deletions can be repeated.
        """
        left = self._unsure.get(key, 0.0) - self._clock.monotonic()
        if left > 0:
            return left
        self._unsure.pop(key, None)
        return None

    def met(self, key: K) -> bool:
        if key not in self._since:
            return True
        if self._clock.monotonic() - self._since[key] <= EXPIRES and not self._seen(key):
            return False
        self._settle(key)
        return True

    def forget(self, key: K) -> None:
        """The object reconciled is gone."""
        self._settle(key)
        self._unsure.pop(key, None)

    def _settle(self, key: K) -> None:
        self._revision.pop(key, None)
        self._gone.pop(key, None)
        self._since.pop(key, None)

    def _seen(self, key: K) -> bool:
        if self._cache.revision < self._revision.get(key, 0):
            return False
        return not any(self._lives(uid, where) for uid, where in self._gone.get(key, {}).items())

    def _lives(self, uid: str, where: tuple[str, str]) -> bool:
        found = self._cache.get(*where)
        return found is not None and uid_of(found) == uid and not is_deleting(found)
