"""Kernel settings under /proc/sys/net, of the caller's network namespace or of another one.

Names are written as sysctl(8) writes them, with `/` for a dot inside an interface's name:
`net.ipv4.conf.eth0/100.rp_filter`. /proc/sys/net shows the settings of the thread that opens a file, which is why
another namespace's are read and written in a thread of it.
"""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from clew.kernel.errors import KernelError
from clew.kernel.netns import Namespace, run_in

T = TypeVar("T")

ROOT = Path("/proc/sys")


def path_of(name: str) -> Path:
    """`net.ipv4.conf.eth0/100.rp_filter` -> /proc/sys/net/ipv4/conf/eth0.100/rp_filter."""
    return ROOT.joinpath(*(part.replace("/", ".") for part in name.split(".")))


def read(name: str, ns: Namespace | None = None) -> str:
    """The value, without the newline; KernelError ENOENT where this kernel has no such setting."""
    return _inside(ns, lambda: _read(name))


def write(settings: Mapping[str, str | int], ns: Namespace | None = None) -> None:
    """Set each, in order; the first that the kernel refuses raises KernelError and the rest are not tried.

    A value that is in force already is left alone: in a container without rights over /proc/sys a correct setting
    is no reason to fail.
    """

    def all_of_them() -> None:
        for name, value in settings.items():
            _write(name, str(value))

    _inside(ns, all_of_them)


def write_known(settings: Mapping[str, str | int], ns: Namespace | None = None) -> tuple[str, ...]:
    """As `write`, but settings that this kernel does not have are passed over; their names are returned."""
    unknown: list[str] = []

    def all_of_them() -> None:
        for name, value in settings.items():
            try:
                _write(name, str(value))
            except KernelError as refusal:
                if refusal.number != errno.ENOENT:
                    raise
                unknown.append(name)

    _inside(ns, all_of_them)
    return tuple(unknown)


def _read(name: str) -> str:
    try:
        return path_of(name).read_text().strip()
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"read sysctl {name}") from problem


def _write(name: str, value: str) -> None:
    if _read(name).split() == value.split():
        return
    try:
        path_of(name).write_text(value)
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"set sysctl {name} to {value}") from problem


def _inside(ns: Namespace | None, fn: Callable[[], T]) -> T:
    return fn() if ns is None else run_in(ns, fn)
