"""What is kept of an object: its JSON as bytes, its key, the revision that wrote it; and one change of it.

Not a decoded object: bytes are a quarter of the memory and most replies are made by joining them. What selectors
need is cut out once a record, on the first demand.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Change = Literal["ADDED", "MODIFIED", "DELETED"]
_decode = msgspec.json.Decoder().decode


class Record:
    """An object at one revision. `key` is `NAMESPACE/NAME`, or `NAME` for what has no namespace."""

    __slots__ = ("_view", "key", "raw", "revision")

    def __init__(self, key: str, revision: int, raw: bytes) -> None:
        self.key = key
        self.revision = revision
        self.raw = raw
        self._view: Any = None

    def decode(self) -> dict[str, Any]:
        """A fresh copy, the caller's own."""
        decoded: dict[str, Any] = _decode(self.raw)
        return decoded

    def view(self, cut: Callable[[dict[str, Any]], Any]) -> Any:
        """What `cut` keeps of the object, remembered; one record is only ever asked with one `cut`."""
        if self._view is None:
            self._view = cut(_decode(self.raw))
        return self._view


class Event:
    """A change: the record it made (for DELETED the last state, under the revision of the deletion) and the one before.

    `encoded` remembers the bytes that watchers are sent, by their form, so that each form is made once.
    """

    __slots__ = ("change", "encoded", "previous", "record")

    def __init__(self, change: Change, record: Record, previous: Record | None) -> None:
        self.change: Change = change
        self.record = record
        self.previous = previous
        self.encoded: dict[Any, bytes] = {}

    @property
    def revision(self) -> int:
        return self.record.revision
