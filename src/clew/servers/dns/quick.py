"""Answers that may be given again to the same bytes, until what they hang on changes: the memory before the chain.

The key is a whole question but its ID: name with its capitals, type, flags, EDNS. Two generations bound it: when the
young one is full it becomes the old one, and what is asked again moves back. A server's sockets each have their own,
because what fits differs. Called by the listener alone.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import cycle

from clew.servers.dns.wire import Tally

Entry = tuple[Callable[[], bytes], Tally, tuple[bytes, ...]]  # the next answer without its ID, its count, its tokens

_MOST = 16_384  # entries of a generation


class _Generation:
    __slots__ = ("by_token", "entries")

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.by_token: dict[bytes, list[bytes]] = {}

    def put(self, key: bytes, entry: Entry) -> None:
        self.entries[key] = entry
        for token in entry[2]:
            self.by_token.setdefault(token, []).append(key)

    def drop(self, token: bytes) -> None:
        for key in self.by_token.pop(token, ()):
            self.entries.pop(key, None)


class Quick:
    """`young` is read by whoever answers; all else goes through here."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._young, self._old = _Generation(), _Generation()
        self.young = self._young.entries

    def again(self, key: bytes) -> Entry | None:
        """What is not among the young: it may be among the old, and is young then."""
        entry = self._old.entries.pop(key, None)
        if entry is not None:
            self._put(key, entry)
        return entry

    def put(self, key: bytes, answers: Sequence[bytes], tally: Tally, tokens: tuple[bytes, ...]) -> None:
        """Give these answers in turn."""
        self._put(key, (cycle(answers).__next__, tally, tokens))

    def _put(self, key: bytes, entry: Entry) -> None:
        if len(self.young) >= self._most:
            self._old, self._young = self._young, _Generation()
            self.young = self._young.entries
        self._young.put(key, entry)

    def stale(self, tokens: Collection[bytes] | None) -> None:
        """Forget what hangs on these tokens; on anything, for None."""
        if tokens is None:
            self._young, self._old = _Generation(), _Generation()
            self.young = self._young.entries
            return
        for generation in (self._young, self._old):
            if generation.by_token:
                for token in tokens:
                    generation.drop(token)
