"""The process that holds a pod's namespaces: a static ELF of 250 bytes, written here instruction by instruction.

It lets the kernel reap what is orphaned to it (SIGCHLD ignored), sleeps, and leaves with status 0 at the first SIGINT
or SIGTERM, as the original does. No compiler and no C library take part; x86-64 and arm64 are known.
Sources: the System V gABI for the headers, the kernel's syscall tables for the numbers.
"""

import platform
import struct

from clew.cluster.images.image import ImageError, ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import Tree

_BASE = 0x400000
_HEADERS = 64 + 56  # one ELF header, one program header
_SIGINT, _SIGTERM, _SIGCHLD = 2, 15, 17
_SIG_IGN, _SIG_BLOCK = 1, 0
_SIGNALS = 1 << (_SIGINT - 1) | 1 << (_SIGTERM - 1)
_SET_SIZE = 8  # bytes in a kernel signal set
_ACTION_SIZE = 32  # a kernel sigaction: handler, flags, restorer, mask


def build(tree: Tree, own: OwnProgram) -> Recipe:
    """The image `pause`: nothing but the program."""
    del own
    machine = platform.machine()
    if machine not in _MACHINES:
        raise ImageError("ErrImagePull", f"the stand-in for pause is not known for this processor ({machine})")
    for path in ("dev", "etc", "proc", "sys", "run"):
        tree.folder(path)
    tree.file("pause", program(machine), 0o755)
    process = ProcessConfig(entrypoint=("/pause",), user="65535:65535")
    return Recipe(process=process, made_of="a pause program of Clew's own")


def program(machine: str) -> bytes:
    """The executable for `machine` ("x86_64" or "aarch64")."""
    number, assemble = _MACHINES[machine]
    length = (len(assemble(0, 0)) + 7) & ~7
    action = _HEADERS + length  # file offsets; the whole file is one segment, so distances are the same in memory
    signals = action + _ACTION_SIZE
    code = assemble(action, signals).ljust(length, b"\0")
    data = struct.pack("<QQQQQ", _SIG_IGN, 0, 0, 0, _SIGNALS)
    size = _HEADERS + len(code) + len(data)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little-endian, version 1
    elf = ident + struct.pack("<HHIQQQIHHHHHH", 2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)  # PT_LOAD, readable and executable
    return elf + segment + code + data


def _x86_64(action: int, signals: int) -> bytes:
    """rt_sigaction(CHLD, ignore); rt_sigprocmask(BLOCK, set); do rt_sigtimedwait(set) while it fails; exit_group(0)."""
    out = bytearray()

    def here() -> int:
        return _HEADERS + len(out)

    def call(number: int) -> None:
        out.extend(b"\xb8" + struct.pack("<I", number))  # mov eax, number
        out.extend(b"\x0f\x05")  # syscall

    def address(register: bytes, target: int) -> None:
        out.extend(b"\x48\x8d" + register + struct.pack("<i", target - (here() + 7)))  # lea reg, [rip + distance]

    rsi, rdi = b"\x35", b"\x3d"
    size = b"\x41\xba" + struct.pack("<I", _SET_SIZE)  # mov r10d, size
    out.extend(b"\xbf" + struct.pack("<I", _SIGCHLD))  # mov edi, SIGCHLD
    address(rsi, action)
    out.extend(b"\x31\xd2" + size)  # xor edx, edx
    call(13)
    out.extend(b"\x31\xff")  # xor edi, edi: SIG_BLOCK
    address(rsi, signals)
    out.extend(b"\x31\xd2" + size)
    call(14)
    again = len(out)
    address(rdi, signals)
    out.extend(b"\x31\xf6\x31\xd2" + size)  # xor esi, esi; xor edx, edx: no info, no timeout
    call(128)
    out.extend(b"\x85\xc0\x78" + struct.pack("<b", again - (len(out) + 4)))  # test eax, eax; js again
    out.extend(b"\x31\xff")
    call(231)
    return bytes(out)


def _aarch64(action: int, signals: int) -> bytes:
    """The same five steps; arguments in x0 to x3, the call's number in x8."""
    words: list[int] = []

    def move(register: int, value: int) -> None:
        words.append(0xD2800000 | value << 5 | register)  # movz

    def address(register: int, target: int) -> None:
        distance = target - (_HEADERS + 4 * len(words))
        words.append(0x10000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5 | register)  # adr

    def call(number: int) -> None:
        move(8, number)
        words.append(0xD4000001)  # svc 0

    move(0, _SIGCHLD)
    address(1, action)
    move(2, 0)
    move(3, _SET_SIZE)
    call(134)
    move(0, _SIG_BLOCK)
    address(1, signals)
    move(2, 0)
    move(3, _SET_SIZE)
    call(135)
    again = len(words)
    address(0, signals)
    move(1, 0)
    move(2, 0)
    move(3, _SET_SIZE)
    call(137)
    words.append(0xB7F80000 | (again - len(words) & 0x3FFF) << 5)  # tbnz x0, #63, again
    move(0, 0)
    call(94)
    return struct.pack(f"<{len(words)}I", *words)


_MACHINES = {"x86_64": (62, _x86_64), "aarch64": (183, _aarch64)}
