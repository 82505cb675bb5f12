"""What is alive by a descriptor: maps, programs and links alike, kept beyond it by a pin on a bpffs."""

import ctypes
import os
from pathlib import Path
from struct import Struct

from clew.kernel.bpf import syscall

PATH = Struct("=QII")  # path, descriptor, flags


class Held:
    """A descriptor of something of BPF's. Closed, it goes on where a pin or an attachment holds it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def pin(self, path: Path) -> None:
        """Keep it alive at `path`. KernelError EEXIST where something is there."""
        name = ctypes.create_string_buffer(bytes(path))
        syscall.call(syscall.OBJ_PIN, PATH.pack(ctypes.addressof(name), self.fd, 0), f"pin at {path}")

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def open_pinned(path: Path) -> int:
    """A descriptor of what is pinned at `path`; KernelError ENOENT where nothing is."""
    name = ctypes.create_string_buffer(bytes(path))
    return syscall.call(syscall.OBJ_GET, PATH.pack(ctypes.addressof(name), 0, 0), f"open what is pinned at {path}")[0]
