"""Files written whole or not at all, and locks that end with their holder.

Called by the certificate authority, the kubeconfig, the lab's records and the agent's keys. A replaced file is on disk
when `replace` returns. What grows (the storage, the journals) has ways of its own.
"""

import contextlib
import errno
import fcntl
import os
import tempfile
from pathlib import Path

from clew.base.errors import WorldError
from clew.base.value import Value

_TRIES = 100  # who takes folders away is slower than this


class Owner(Value):
    """Whom a new file is to belong to."""

    uid: int
    gid: int


def replace(path: Path, data: bytes, mode: int = 0o600, owner: Owner | None = None) -> None:
    """Put `data` at `path` so that a reader sees the old file or the new one, never a part.

    The folder must exist. OSError as the file system gives it (ENOSPC leaves the old file as it was).
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Which files it has is on disk when this returns: a rename that a power cut undoes is the old file again."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as problem:
        if problem.errno not in {errno.EINVAL, errno.ENOTSUP}:  # file systems that know no such thing
            raise
    finally:
        os.close(fd)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """The folder and what is above it, where others take away folders that are empty, as the end of a lab does."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # what was there was gone the moment after
            path.mkdir(mode, parents=True, exist_ok=True)
            return
    path.mkdir(mode, parents=True, exist_ok=True)


class LockedError(WorldError):
    """Another process holds the lock; `holder` is its pid where the file tells it, else 0."""

    def __init__(self, path: Path, holder: int) -> None:
        super().__init__(f"{path} is locked by {f'process {holder}' if holder else 'another process'}")
        self.path = path
        self.holder = holder


class FileLock:
    """An exclusive flock on a file that may itself be removed while others wait for it.

    The kernel lets go of it when the holder ends, however it ends. The holder's pid is written into the file, for
    messages only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self) -> None:
        """Take it now; LockedError where another holds it. The folder is made."""
        while True:
            make_folder(self.path.parent)
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:  # somebody who let go of the last lock in it took the folder away
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as problem:
                holder = _pid_in(fd)
                os.close(fd)
                if problem.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise LockedError(self.path, holder) from problem
                raise
            if _same_file(fd, self.path):
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                self._fd = fd
                return
            os.close(fd)  # its holder removed the file between our open and our flock: try the new one

    def release(self, *, remove: bool = False) -> None:
        """Let go; with `remove`, the file goes first, while nobody else can hold it."""
        if self._fd < 0:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1

    def inherit(self) -> int:
        """The descriptor, for a child process that is to hold the lock too."""
        return self._fd


def _pid_in(fd: int) -> int:
    with contextlib.suppress(ValueError, OSError):
        return int(os.pread(fd, 20, 0).strip() or b"0")
    return 0


def _same_file(fd: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), named)
