"""A BPF map in memory, refusing what the kernel refuses. For tests without root; passes the suite of the real one."""

import errno
from collections.abc import Collection, Iterator

from clew.kernel.bpf.image import MapSpec
from clew.kernel.errors import KernelError

HASH, ARRAY, LRU_HASH = 1, 2, 9


class FakeMap:
    """A hash or an array; an LRU map forgets its oldest entry, the kernel some old one."""

    def __init__(self, spec: MapSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.key_size = spec.key_size
        self.value_size = spec.value_size
        self.capacity = spec.entries
        self._entries: dict[bytes, bytes] = {}
        if spec.kind == ARRAY:
            self._entries = {index.to_bytes(4, "little"): bytes(spec.value_size) for index in range(spec.entries)}

    def lookup(self, key: bytes) -> bytes | None:
        return self._entries.get(self._checked(key, self.key_size))

    def update(self, key: bytes, value: bytes) -> None:
        key, value = self._checked(key, self.key_size), self._checked(value, self.value_size)
        if key not in self._entries and len(self._entries) >= self.capacity:
            if self.spec.kind != LRU_HASH:
                raise KernelError(errno.E2BIG, f"put an entry of the BPF map {self.name}")
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value

    def update_all(self, entries: Collection[tuple[bytes, bytes]]) -> None:
        for key, value in entries:
            self.update(key, value)

    def delete(self, key: bytes) -> bool:
        if self.spec.kind == ARRAY:
            raise KernelError(errno.EINVAL, f"delete an entry of the BPF map {self.name}")
        return self._entries.pop(self._checked(key, self.key_size), None) is not None

    def delete_all(self, keys: Collection[bytes]) -> None:
        for key in keys:
            self.delete(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self._entries.items()))

    def close(self) -> None:
        """Nothing to let go of."""

    def _checked(self, data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise ValueError(f"BPF map {self.name}: {len(data)} bytes where {size} belong")
        return data
