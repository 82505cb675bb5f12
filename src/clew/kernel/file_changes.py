"""Word from the kernel that something in a folder has changed: inotify(7). One descriptor, made readable by a change.

It tells that, not what: whoever waits reads the file again. Kubernetes replaces a ConfigMap's files by renaming one
symlink in their folder, so it is the folder that is looked at.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from clew.kernel.errors import KernelError

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """KernelError where the folder cannot be watched."""

    def __init__(self, folder: Path) -> None:
        self._fd = _libc.inotify_init1(_FLAGS)
        if self._fd < 0:
            raise KernelError(ctypes.get_errno(), "inotify_init1")
        mask = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
        if _libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) < 0:
            number = ctypes.get_errno()
            self.close()
            raise KernelError(number, f"watch {folder}")

    def fileno(self) -> int:
        return int(self._fd)

    def drain(self) -> None:
        """Take what is to be read, so that only the next change makes the descriptor readable."""
        with suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                pass

    def close(self) -> None:
        os.close(self._fd)
