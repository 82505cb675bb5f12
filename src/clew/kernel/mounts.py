"""Mounts: mount(2), umount2(2) and pivot_root(2) by name, and what /proc/self/mountinfo says.

Standard library only, because the node's supervisor lives on it; failures are plain OSError with the path in them.
Knows nothing of nodes or pods. Called by cluster/runtime.
"""

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

RDONLY = 0x1
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8
REMOUNT = 0x20
BIND = 0x1000
REC = 0x4000
PRIVATE = 1 << 18
SLAVE = 1 << 19
SHARED = 1 << 20

DETACH = 2  # umount2: gone from the tree at once, from the kernel with its last user

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_libc = ctypes.CDLL(None, use_errno=True)


class MountPoint(NamedTuple):
    """A line of mountinfo (proc(5)): where, of which type, from what."""

    path: str
    type: str
    source: str
    root: str


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Do one step of what the command does; `kind` is the file system, empty for binds and propagation."""
    done = _libc.mount(
        source.encode() or None,
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(done, f"mount {kind or source} at {target}")


def bind(source: str, target: str, *, recursive: bool = False, read_only: bool = False) -> None:
    """Show `source` at `target`; read-only needs a second call, since the first ignores the flag."""
    mount(source, target, flags=BIND | (REC if recursive else 0))
    if read_only:
        mount("", target, flags=BIND | REMOUNT | RDONLY | _kept_flags(target))


def propagation(target: str, kind: int) -> None:
    """PRIVATE, SLAVE or SHARED, for a mount and all beneath it."""
    mount("", target, flags=kind | REC)


def overlay(target: str, lowers: list[str], upper: str, work: str) -> None:
    """Stack read-only folders, topmost first, under a writable one; colons and commas in names are escaped."""
    below = ":".join(_escaped(lower) for lower in lowers)
    mount("overlay", target, "overlay", options=f"lowerdir={below},upperdir={_escaped(upper)},workdir={_escaped(work)}")


def unmount(target: str, flags: int = DETACH) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def pivot_root(new: str) -> None:
    """Make `new`, a mount point, the root of this mount namespace, and let go of the old one."""
    number = _PIVOT_ROOT[os.uname().machine]
    os.chdir(new)
    _check(_libc.syscall(number, b".", b"."), f"make {new} the root")  # the old root is now mounted over the new
    unmount(".")
    os.chdir("/")


def mounted(path: str = "/proc/self/mountinfo") -> list[MountPoint]:
    """Every mount of the namespace, oldest first."""
    points = []
    for line in Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        points.append(MountPoint(_unescaped(fields[4]), rest[0], rest[1], _unescaped(fields[3])))
    return points


def _kept_flags(target: str) -> int:
    """nosuid, nodev and noexec of the mount itself: a remount that drops them is refused in some namespaces."""
    held = os.statvfs(target).f_flag
    return held & (NOSUID | NODEV | NOEXEC)


def _escaped(path: str) -> str:
    for character in "\\:,":
        path = path.replace(character, f"\\{character}")
    return path


def _unescaped(path: str) -> str:
    """The file writes blanks and backslashes as three octal digits."""
    if "\\" not in path:
        return path
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
