"""Namespaces, names and rights of the calling process: unshare, setns, prctl, signals to what a descriptor names.

Standard library only, because the node's supervisor lives on it; failures are plain OSError. These calls change the
calling thread: a program with more than one uses kernel/netns instead. Called by cluster/runtime.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWPID = 0x20000000
NEWNET = 0x40000000

_PR_SET_NAME, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 15, 24, 38
_FILES = {NEWNS: "mnt", NEWUTS: "uts", NEWIPC: "ipc", NEWPID: "pid_for_children", NEWNET: "net"}

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the shared namespaces named by `flags`; NEWPID takes effect for children only."""
    _check(_libc.unshare(flags), "leave a namespace")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace of `fd`; entering a mount namespace moves root and working directory to its root."""
    _check(_libc.setns(fd, kind), "enter a namespace")


@contextmanager
def elsewhere(kinds: int) -> Iterator[None]:
    """Whatever the body does to these namespaces of this (single-threaded) process, it is back home afterwards."""
    homes = [(os.open(f"/proc/self/ns/{name}", os.O_RDONLY), kind) for kind, name in _FILES.items() if kinds & kind]
    try:
        yield
    finally:
        for fd, kind in homes:
            setns(fd, kind)
            os.close(fd)


def rename(name: str) -> None:
    """What ps shows in its short form, 15 bytes."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))


def retitle(title: str) -> None:
    """What ps shows in its long form: the title in place of the command line, as much of it as fits there."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
    if end - start > 1:
        ctypes.memmove(start, title.encode()[: end - start - 1].ljust(end - start, b"\0"), end - start)


def drop_bounding() -> None:
    """No capability can be had again by exec. What is held now goes when the user id does."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    for capability in range(last + 1):
        with suppress(OSError):
            _prctl(_PR_CAPBSET_DROP, capability)


def no_new_rights() -> None:
    """No set-user-id program gives any, for good."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, *values: object) -> None:
    arguments = [*values, *[0] * (4 - len(values))]
    longs = [value if isinstance(value, ctypes.c_char_p) else ctypes.c_ulong(int(str(value))) for value in arguments]
    _check(_libc.prctl(option, *longs), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
