"""Real BPF maps: made from a specification or found by their number; single entries and batches.

One entry costs 1 us of system call, in a batch of thousands a tenth of that.
"""

import ctypes
import errno
import os
from collections.abc import Collection, Iterator, Sequence
from struct import Struct
from typing import Self

from clew.kernel.bpf import syscall
from clew.kernel.bpf.held import Held
from clew.kernel.bpf.image import MapSpec
from clew.kernel.errors import KernelError

CREATE = Struct("=IIIIIII16s")  # kind, key, value, entries, flags, inner map, node, name
ELEMENT = Struct("=I4xQQQ")  # map, key, value or next key, flags
BATCH = Struct("=QQQQIIQQ")  # in, out, keys, values, count, map, element flags, flags
INFO = Struct("=IIIIII16s")
ENOTSUPP = 524  # the kernel's own number, of a kind of map that has no batches
PART = 4096  # entries a call


class KernelMap(Held):
    def __init__(self, fd: int, spec: MapSpec) -> None:
        super().__init__(fd)
        self.spec = spec
        self.name = spec.name
        self.key_size = spec.key_size
        self.value_size = spec.value_size
        self.capacity = spec.entries
        self.id = 0  # known of one that was opened

    @classmethod
    def create(cls, spec: MapSpec) -> Self:
        name = syscall.kernel_name(spec.name)
        packed = CREATE.pack(spec.kind, spec.key_size, spec.value_size, spec.entries, spec.flags, 0, 0, name)
        return cls(syscall.call(syscall.MAP_CREATE, packed, f"make the BPF map {spec.name}")[0], spec)

    @classmethod
    def by_id(cls, number: int) -> Self:
        """The map with this id, as programs tell the ids of theirs; KernelError ENOENT where there is none."""
        what = f"open the BPF map {number}"
        return cls._found(syscall.call(syscall.MAP_GET_FD_BY_ID, Struct("=III").pack(number, 0, 0), what)[0], what)

    @classmethod
    def _found(cls, fd: int, what: str) -> Self:
        info = ctypes.create_string_buffer(INFO.size)
        asked = Struct("=IIQ").pack(fd, INFO.size, ctypes.addressof(info))
        try:
            syscall.call(syscall.OBJ_GET_INFO, asked, f"look at the BPF map {what}")
        except KernelError:
            os.close(fd)
            raise
        kind, number, key_size, value_size, entries, flags, name = INFO.unpack(info.raw)
        made = cls(fd, MapSpec(name.rstrip(b"\0").decode(), kind, key_size, value_size, entries, flags))
        made.id = number
        return made

    def lookup(self, key: bytes) -> bytes | None:
        value = ctypes.create_string_buffer(self.value_size)
        return value.raw if self._element(syscall.MAP_LOOKUP, key, value, "look up") else None

    def update(self, key: bytes, value: bytes) -> None:
        held = ctypes.create_string_buffer(value, self._sized(value, self.value_size))
        if not self._element(syscall.MAP_UPDATE, key, held, "put"):
            raise KernelError(errno.ENOENT, f"put an entry into the BPF map {self.name}")

    def delete(self, key: bytes) -> bool:
        return self._element(syscall.MAP_DELETE, key, None, "delete")

    def update_all(self, entries: Collection[tuple[bytes, bytes]]) -> None:
        listed = list(entries)
        for start in range(0, len(listed), PART):
            part = listed[start : start + PART]
            keys = b"".join([key for key, _ in part])
            values = b"".join([value for _, value in part])
            self._sized(keys, self.key_size * len(part))
            self._sized(values, self.value_size * len(part))
            _done, refusal = self._batch(syscall.MAP_UPDATE_BATCH, keys, values, len(part))
            if refusal is not None and refusal.number != ENOTSUPP:
                raise refusal
            if refusal is not None:
                for key, value in part:
                    self.update(key, value)

    def delete_all(self, keys: Collection[bytes]) -> None:
        listed = list(keys)
        while listed:
            part = listed[:PART]
            done, refusal = self._batch(syscall.MAP_DELETE_BATCH, b"".join(part), b"", len(part))
            if refusal is None:
                listed = listed[len(part) :]
            elif refusal.number == errno.ENOENT:  # the one after those that are done was not there
                listed = listed[done + 1 :]
            elif refusal.number == ENOTSUPP:
                for key in listed:
                    self.delete(key)
                return
            else:
                raise refusal

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        part = PART
        token = b""
        while True:
            keys = ctypes.create_string_buffer(max(1, part * self.key_size))
            values = ctypes.create_string_buffer(max(1, part * self.value_size))
            count, token_after, number = self._read(token, keys, values, part)
            if number == ENOTSUPP and not token:
                yield from self._walk()
                return
            if number == errno.ENOSPC:  # a bucket of the hash holds more than there is room for
                part *= 2
                continue
            if number not in {0, errno.ENOENT}:
                raise KernelError(number, f"read the BPF map {self.name}")
            yield from zip(_cut(keys.raw, self.key_size, count), _cut(values.raw, self.value_size, count), strict=True)
            if number == errno.ENOENT:
                return
            token = token_after

    def freeze(self) -> None:
        """No program of the user's can write it any more."""
        syscall.call(syscall.MAP_FREEZE, Struct("=I").pack(self.fd), f"freeze the BPF map {self.name}")

    def _element(self, command: int, key: bytes, value: "ctypes.Array[ctypes.c_char] | None", verb: str) -> bool:
        held = ctypes.create_string_buffer(key, self._sized(key, self.key_size))
        packed = ELEMENT.pack(self.fd, ctypes.addressof(held), syscall.address_of(value), 0)
        try:
            syscall.call(command, packed, f"{verb} an entry of the BPF map {self.name}")
        except KernelError as refusal:
            if refusal.number == errno.ENOENT:
                return False
            raise
        return True

    def _batch(self, command: int, keys: bytes, values: bytes, count: int) -> tuple[int, KernelError | None]:
        """How many were done, and the refusal of the one after them."""
        held = ctypes.create_string_buffer(keys, len(keys) or 1), ctypes.create_string_buffer(values, len(values) or 1)
        packed = BATCH.pack(0, 0, ctypes.addressof(held[0]), ctypes.addressof(held[1]), count, self.fd, 0, 0)
        done, number = syscall.attempt(command, packed)
        reached = int(BATCH.unpack(done)[4])
        return reached, KernelError(number, f"change entries of the BPF map {self.name}") if number else None

    def _read(
        self, token: bytes, keys: "ctypes.Array[ctypes.c_char]", values: "ctypes.Array[ctypes.c_char]", part: int
    ) -> tuple[int, bytes, int]:
        """(entries read, the token to go on with, errno): ENOENT says that these were the last."""
        size = max(4, self.key_size)
        after = ctypes.create_string_buffer(size)
        before = ctypes.create_string_buffer(token, size) if token else None
        addresses = (syscall.address_of(before), *(ctypes.addressof(each) for each in (after, keys, values)))
        done, number = syscall.attempt(syscall.MAP_LOOKUP_BATCH, BATCH.pack(*addresses, part, self.fd, 0, 0))
        count = int(BATCH.unpack(done)[4]) if number in {0, errno.ENOENT} else 0
        return count, after.raw, number

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        """Key by key, for the kinds of map that know no batches."""
        key: bytes | None = None
        while True:
            held = None if key is None else ctypes.create_string_buffer(key, self.key_size)
            after = ctypes.create_string_buffer(self.key_size)
            packed = ELEMENT.pack(self.fd, syscall.address_of(held), ctypes.addressof(after), 0)
            _done, number = syscall.attempt(syscall.MAP_NEXT_KEY, packed)
            if number == errno.ENOENT:
                return
            if number:
                raise KernelError(number, f"read the BPF map {self.name}")
            key = after.raw
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def _sized(self, data: bytes, size: int) -> int:
        if len(data) != size:
            raise ValueError(f"BPF map {self.name}: {len(data)} bytes where {size} belong")
        return max(1, size)


def _cut(data: bytes, size: int, count: int) -> Sequence[bytes]:
    return [data[size * i : size * (i + 1)] for i in range(count)]
