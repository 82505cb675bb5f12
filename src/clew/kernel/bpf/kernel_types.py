"""The running kernel's own description of itself (BTF): numbers of functions that programs call, places in structs.

A function that is open to programs (a kfunc) has another number in each build, and may live in a module; a module's
types continue those of the kernel. Read only where a program calls such functions: it takes about 20 ms.

Source: Documentation/bpf/btf.rst and kfuncs.rst of the kernel.
"""

import ctypes
import errno
import os
import sys
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import Struct, pack_into

from clew.base.value import Value
from clew.kernel.bpf import syscall
from clew.kernel.bpf.btf import HEADER, TAIL, TAIL_EACH
from clew.kernel.bpf.image import KernelCall
from clew.kernel.errors import KernelError

FOLDER = Path("/sys/kernel/btf")
KERNEL = "vmlinux"
FUNCTION, STRUCT, UNION = 12, 4, 5
KERNEL_FUNCTION = 2  # source register of a call of one
INFO = Struct("=QIIQII")  # types, their length, id, name, its length, of the kernel
OFFSET_BITS = 24  # of a member's offset, where its struct has members of some bits
WORDS_AFTER = [(TAIL.get(kind, 0) // 4, TAIL_EACH.get(kind, 0) // 4) for kind in range(32)]


class _Lengths(dict[int, int]):
    """How many words a type takes, by its second word; a kernel's 130,000 types have a few hundred such words."""

    def __missing__(self, info: int) -> int:
        fixed, each = WORDS_AFTER[info >> 24 & 31]
        self[info] = 3 + fixed + each * (info & 0xFFFF)
        return self[info]


LENGTHS = _Lengths()

_KNOWN: dict[Path, dict[tuple[str, ...], int]] = {}


class KernelFunction(Value):
    number: int
    module: str  # "vmlinux" for the kernel's own


class _Part:
    """The types of the kernel, or of one module: as words, with the place where each type begins."""

    def __init__(self, data: bytes, before: "_Part | None" = None) -> None:
        _magic, _version, _flags, head, types, length, strings, strings_length = HEADER.unpack_from(data)
        self._bytes = data[head + types : head + types + length]
        self.words = memoryview(self._bytes).cast("I")
        self.strings = data[head + strings : head + strings + strings_length]
        self.first: int = before.first + len(before.starts) if before else 1  # number of the first type here
        self.names_from = len(before.strings) if before else 0
        self.starts: list[int] = []  # places of types, in words
        place, end, words, add = 0, len(self.words), self.words, self.starts.append
        while place < end:
            add(place)
            place += LENGTHS[words[place + 1]]

    def find(self, kind: int, name: str) -> int | None:
        """The number of the type of that kind and name."""
        where = self.strings.find(b"\0" + name.encode() + b"\0")
        if where < 0:
            return None
        wanted = (self.names_from + where + 1).to_bytes(4, sys.byteorder)
        at = self._bytes.find(wanted)
        while at >= 0:
            place = at // 4
            index = bisect_left(self.starts, place)
            is_start = at % 4 == 0 and index < len(self.starts) and self.starts[index] == place
            if is_start and self.words[place + 1] >> 24 & 31 == kind:
                return self.first + index
            at = self._bytes.find(wanted, at + 1)
        return None


class KernelTypes:
    """What the kernel and its loaded modules say of themselves. KernelError where they say nothing.

    Answers about the kernel itself are kept for as long as the process lives; modules come and go.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._parts: dict[str, _Part] = {}
        self._known = _KNOWN.setdefault(folder, {})

    def function(self, name: str, modules: Sequence[str] = ()) -> KernelFunction:
        """KernelError ENOENT where neither the kernel nor one of these modules has a function of that name."""
        if (name,) in self._known:
            return KernelFunction(self._known[name,], KERNEL)
        module, _part, number = self._find(FUNCTION, name, modules)
        if module == KERNEL:
            self._known[name,] = number
        return KernelFunction(number, module)

    def offset(self, struct: str, *members: str, modules: Sequence[str] = ()) -> int:
        """Bytes from the beginning of a struct to a member of a member of it."""
        if (struct, *members) in self._known:
            return self._known[struct, *members]
        module, part, number = self._find(STRUCT, struct, modules)
        offset = self._offset(part, number, members)
        if module == KERNEL:
            self._known[struct, *members] = offset
        return offset

    def _find(self, kind: int, name: str, modules: Sequence[str]) -> tuple[str, _Part, int]:
        for module in (KERNEL, *modules):
            part = self._part(module)
            number = part.find(kind, name) if part else None
            if part is not None and number is not None:
                return module, part, number
        raise KernelError(errno.ENOENT, f"find {name} in the kernel")

    def _part(self, module: str) -> _Part | None:
        if module not in self._parts:
            before = None if module == KERNEL else self._part(KERNEL)
            try:
                self._parts[module] = _Part(_read(self._folder / module), before)
            except KernelError:
                if module == KERNEL:
                    raise
                return None  # not loaded
        return self._parts[module]

    def _offset(self, part: _Part, number: int, members: Sequence[str]) -> int:
        bits = 0
        for name in members:
            found = self._member(part, number, name)
            if found is None:
                raise KernelError(errno.ENOENT, f"find {name} in a struct of the kernel")
            number, bits = found[0], bits + found[1]
        return bits // 8

    def _member(self, part: _Part, number: int, name: str) -> tuple[int, int] | None:
        """The type of a member and its offset in bits; members of members without a name are its own."""
        words, place = self._at(part, number)
        count, sized = words[place + 1] & 0xFFFF, words[place + 1] >> 31
        for at in range(place + 3, place + 3 + 3 * count, 3):
            offset = words[at + 2] & (1 << OFFSET_BITS) - 1 if sized else words[at + 2]
            said = self._text(part, words[at])
            if said == name:
                return words[at + 1], offset
            if not said and self._kind(part, words[at + 1]) in {STRUCT, UNION}:
                inner = self._member(part, words[at + 1], name)
                if inner is not None:
                    return inner[0], inner[1] + offset
        return None

    def _kind(self, part: _Part, number: int) -> int:
        words, place = self._at(part, number)
        return words[place + 1] >> 24 & 31

    def _at(self, part: _Part, number: int) -> "tuple[memoryview[int], int]":
        home = part if number >= part.first else self._parts[KERNEL]
        return home.words, home.starts[number - home.first]

    def _text(self, part: _Part, offset: int) -> str:
        home = part if offset >= part.names_from else self._parts[KERNEL]
        start = offset - home.names_from
        return home.strings[start : home.strings.index(b"\0", start)].decode()


class KernelFunctions:
    """Functions of the kernel that programs call, with descriptors of the modules that have them."""

    def __init__(self, found: Mapping[str, KernelFunction], modules: Mapping[str, int]) -> None:
        self._found = found
        self._places = {name: place for place, name in enumerate(modules, 1)}
        self._descriptors = (ctypes.c_int32 * (1 + len(modules)))(0, *modules.values())

    @property
    def modules_at(self) -> int:
        """Where the kernel reads the descriptors."""
        return ctypes.addressof(self._descriptors)

    def link(self, code: bytes, calls: Sequence[KernelCall]) -> bytes:
        """The code with this kernel's numbers in its calls."""
        linked = bytearray(code)
        for call in calls:
            function = self._found[call.function]
            place = 8 * call.instruction
            linked[place + 1] = linked[place + 1] & 15 | KERNEL_FUNCTION << 4
            pack_into("<hi", linked, place + 2, self._places.get(function.module, 0), function.number)
        return bytes(linked)


def _mentioning(name: str) -> list[str]:
    """The loaded modules in whose types a name occurs."""
    modules = sorted(each for each in FOLDER.iterdir() if each.name != KERNEL)
    return [each.name for each in modules if name.encode() in _read(each)]


def _found(types: KernelTypes, name: str) -> KernelFunction:
    try:
        return types.function(name)
    except KernelError as refused:
        if not refused.absent:
            raise
        return types.function(name, _mentioning(name))


@contextmanager
def kernel_functions(names: Collection[str], types: KernelTypes | None = None) -> Iterator[KernelFunctions]:
    """What programs that call these functions are linked with. KernelError names one that this kernel lacks."""
    types = types or KernelTypes()
    found = {name: _found(types, name) for name in names}
    wanted = sorted({each.module for each in found.values()} - {KERNEL})
    opened = _descriptors(wanted) if wanted else {}
    try:
        yield KernelFunctions(found, opened)
    finally:
        for fd in opened.values():
            os.close(fd)


def _descriptors(modules: Collection[str]) -> dict[str, int]:
    """Of the types of modules, by the modules' names."""
    found: dict[str, int] = {}
    number = 0
    while True:
        done, refusal = syscall.attempt(syscall.BTF_NEXT_ID, Struct("=III").pack(number, 0, 0))
        if refusal:
            break
        number = Struct("=III").unpack(done)[1]
        done_fd = syscall.call(syscall.BTF_GET_FD_BY_ID, Struct("=III").pack(number, 0, 0), "open a module's types")[0]
        name = _name(done_fd)
        if name in modules and name not in found:
            found[name] = done_fd
        else:
            os.close(done_fd)
    return found


def _name(fd: int) -> str:
    text = ctypes.create_string_buffer(64)
    info = ctypes.create_string_buffer(INFO.pack(0, 0, 0, ctypes.addressof(text), len(text), 0), INFO.size)
    asked = Struct("=IIQ").pack(fd, INFO.size, ctypes.addressof(info))
    syscall.call(syscall.OBJ_GET_INFO, asked, "look at a module's types")
    return text.value.decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"read the kernel's types {path}") from problem
