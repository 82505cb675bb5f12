"""Network namespaces: made, pinned to a path, entered, named by inode.

A namespace is a property of a thread, so this is the only module that calls setns: always in a thread that lives
for one call. The loop's thread never moves. `ip netns exec` is not used: it remounts /sys and hides bpffs.

Called by kernel/netlink, kernel/sysctl and kernel/nft to open their sockets, by the fabric, the kubelet and the CNI
server. Blocking: one call costs about 0.2 ms, `create` about 2 ms.
"""

import ctypes
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clew.base.value import Value
from clew.kernel.errors import KernelError

T = TypeVar("T")
Namespace = Path | int  # a path that pins it (or /proc/PID/ns/net), or a file descriptor of one

CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MNT_DETACH = 2
NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceId(Value):
    """What tells one namespace from another, however it is reached: the device and inode of its nsfs file."""

    device: int
    inode: int


def create(path: Path) -> None:
    """A new, empty network namespace, kept alive by a bind mount at `path`, whose folders are made.

    KernelError with EEXIST where something is at `path` already; nothing is left behind on failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError as exists:
        raise KernelError(errno.EEXIST, f"create network namespace {path}") from exists

    def make() -> None:
        _check(_libc.unshare(CLONE_NEWNET), "make a network namespace")
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net".encode()
        _check(_libc.mount(own, bytes(path), None, MS_BIND, None), f"pin network namespace at {path}")

    try:
        _in_thread(make)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def is_one(fd: int) -> bool:
    """Whether a descriptor is of a network namespace, and not of a file or of a namespace of another kind."""
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:  # no namespace at all
        return False


def delete(path: Path) -> None:
    """Let go of the namespace pinned at `path`; it ends with its last process. Nothing there is fine."""
    if _libc.umount2(bytes(path), MNT_DETACH) != 0:
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOENT}:  # EINVAL: a file that no namespace was mounted on
            raise KernelError(number, f"unpin network namespace {path}")
    path.unlink(missing_ok=True)


def pinned(path: Path) -> bool:
    """Whether a namespace is pinned at `path` (and not only the empty file under it)."""
    try:
        here, parent = path.stat(), path.parent.stat()
    except FileNotFoundError:
        return False
    return here.st_dev != parent.st_dev


def identity(ns: Namespace) -> NamespaceId:
    """The namespace's own identity; equal for every path and descriptor that leads to it."""
    try:
        found = os.fstat(ns) if isinstance(ns, int) else ns.stat()
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"look at network namespace {ns}") from problem
    return NamespaceId(found.st_dev, found.st_ino)


def current() -> NamespaceId:
    """The namespace of the calling thread."""
    return identity(Path("/proc/thread-self/ns/net"))


def run_in(ns: Namespace, fn: Callable[[], T]) -> T:
    """Call `fn` in a thread of its own inside `ns`; its result or its exception is the caller's.

    Blocks the caller as long as `fn` takes: from asyncio, use it for what is short, or by `asyncio.to_thread`.
    """
    fd = ns if isinstance(ns, int) else _open(ns)

    def enter() -> T:
        _check(_libc.setns(fd, CLONE_NEWNET), f"enter network namespace {ns}")
        return fn()

    try:
        return _in_thread(enter)
    finally:
        if fd is not ns:
            os.close(fd)


def socket_in(ns: Namespace, family: int, kind: int, proto: int = 0) -> socket.socket:
    """A socket that belongs to `ns` for good, whichever thread uses it; arguments as for socket.socket."""
    return run_in(ns, lambda: socket.socket(family, kind, proto))


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"open network namespace {path}") from problem


def _check(result: int, what: str) -> None:
    if result != 0:
        raise KernelError(ctypes.get_errno(), what)


def _in_thread(fn: Callable[[], T]) -> T:
    """Run `fn` in a fresh thread and hand back what became of it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(fn())
        except BaseException as failure:  # noqa: BLE001 - carried over to the caller's thread, none is swallowed
            failures.append(failure)

    thread = threading.Thread(target=body, name="clew-netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
