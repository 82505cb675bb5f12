"""The bpf(2) system call, by number: commands, attributes packed as linux/bpf.h lays them out, errno as KernelError.

Called by the modules beside it alone.
"""

import ctypes
import errno
import platform

from clew.kernel.errors import KernelError

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD = range(6)
PROG_ATTACH, PROG_DETACH, PROG_TEST_RUN = 8, 9, 10
PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, OBJ_GET_INFO = 13, 14, 15
PROG_QUERY = 16
BTF_GET_FD_BY_ID, MAP_FREEZE, BTF_NEXT_ID = 19, 22, 23
MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH = 24, 26, 27
ENABLE_STATS = 32
PROG_BIND_MAP = 35

NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
TRIES = 8
NAME_LENGTH = 15  # of a map or a program, without the closing zero

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """(result, the attributes as the kernel left them). KernelError says `what` was refused."""
    packed = ctypes.create_string_buffer(attributes, len(attributes))
    result, number = _syscall(command, packed)
    if number:
        raise KernelError(number, what)
    return result, packed.raw


def attempt(command: int, attributes: bytes) -> tuple[bytes, int]:
    """(the attributes as the kernel left them, errno or 0), for commands that say in them how far they came."""
    packed = ctypes.create_string_buffer(attributes, len(attributes))
    number = _syscall(command, packed)[1]
    return packed.raw, number


def _syscall(command: int, packed: "ctypes.Array[ctypes.c_char]") -> tuple[int, int]:
    """(result, errno or 0). EAGAIN is the verifier's wish to be called again after a signal."""
    call_number = NUMBERS.get(platform.machine())
    if call_number is None:
        detail = f"the number of bpf(2) on {platform.machine()} is not known"
        raise KernelError(errno.ENOSYS, "call bpf(2)", detail=detail)
    for _ in range(TRIES):
        result = int(_libc.syscall(call_number, command, packed, len(packed)))
        if result >= 0:
            return result, 0
        if ctypes.get_errno() != errno.EAGAIN:
            break
    return -1, ctypes.get_errno()


def address_of(buffer: "ctypes.Array[ctypes.c_char] | None") -> int:
    """Where a buffer lies, 0 for none: attributes carry pointers. The caller keeps the buffer alive."""
    return 0 if buffer is None else ctypes.addressof(buffer)


def kernel_name(name: str) -> bytes:
    """A name as the kernel takes one: at most 15 of letters, digits, `_` and `.`."""
    return "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in name).encode()[:NAME_LENGTH]
