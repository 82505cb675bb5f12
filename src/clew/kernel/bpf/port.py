"""A BPF map as its users see it; `KernelMap` is the real one, `FakeMap` stands in for it in tests.

Keys and values are bytes of fixed sizes, laid out as the C sources in bpf/ declare them.
"""

from collections.abc import Collection, Iterator
from typing import Protocol


class Map(Protocol):
    key_size: int
    value_size: int
    capacity: int

    def lookup(self, key: bytes) -> bytes | None: ...

    def update(self, key: bytes, value: bytes) -> None:
        """Put one entry, over one that is there. KernelError: E2BIG, ENOSPC or ENOMEM where it is full."""
        ...

    def update_all(self, entries: Collection[tuple[bytes, bytes]]) -> None:
        """Put many, in order; the first refusal raises, and those before it are in."""
        ...

    def delete(self, key: bytes) -> bool:
        """Whether it was there."""
        ...

    def delete_all(self, keys: Collection[bytes]) -> None:
        """Forget many; one that is not there is no error."""
        ...

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry, in no order. What is put meanwhile may be missing, what is not touched is not."""
        ...

    def close(self) -> None: ...
