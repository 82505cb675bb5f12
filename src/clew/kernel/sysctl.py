"""Kernel settings under /proc/sys/net, of the caller's network namespace or of another one.

Names are written as sysctl(8) writes them, with `/` for a dot inside an interface's name:
`net.ipv4.conf.eth0/100.rp_filter`. /proc/sys/net shows the settings of the thread that opens a file, which is why
another namespace's are read and written in a thread of it.

`Settings` is the port, `Sysctl` the real thing, `FakeSysctl` stands in for it in tests.
"""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from clew.kernel.errors import KernelError
from clew.kernel.netns import Namespace, run_in

T = TypeVar("T")

ROOT = Path("/proc/sys")


class Settings(Protocol):
    """The sysctls of one network namespace."""

    def read(self, name: str) -> str:
        """The value, without the newline; KernelError ENOENT where this kernel has no such setting."""
        ...

    def write(self, settings: Mapping[str, str | int]) -> None:
        """Set each, in order; the first that the kernel refuses raises KernelError and the rest are not tried.

        A value that is in force already is left alone: in a container without rights over /proc/sys a correct
        setting is no reason to fail.
        """
        ...

    def write_known(self, settings: Mapping[str, str | int]) -> tuple[str, ...]:
        """As `write`, but settings that this kernel does not have are passed over; their names are returned."""
        ...


class Sysctl:
    """The settings of `ns`; None: of the namespace of whoever calls."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._ns = ns

    def read(self, name: str) -> str:
        return self._inside(lambda: _read(name))

    def write(self, settings: Mapping[str, str | int]) -> None:
        def all_of_them() -> None:
            for name, value in settings.items():
                _write(name, str(value))

        self._inside(all_of_them)

    def write_known(self, settings: Mapping[str, str | int]) -> tuple[str, ...]:
        unknown: list[str] = []

        def all_of_them() -> None:
            for name, value in settings.items():
                try:
                    _write(name, str(value))
                except KernelError as refusal:
                    if refusal.number != errno.ENOENT:
                        raise
                    unknown.append(name)

        self._inside(all_of_them)
        return tuple(unknown)

    def _inside(self, fn: Callable[[], T]) -> T:
        return fn() if self._ns is None else run_in(self._ns, fn)


class FakeSysctl:
    """Settings in memory. `absent` are prefixes that this kernel lacks, `frozen` names that it will not change."""

    def __init__(self, absent: tuple[str, ...] = (), frozen: tuple[str, ...] = ()) -> None:
        self.values: dict[str, str] = {}
        self._absent = absent
        self._frozen = frozen

    def read(self, name: str) -> str:
        if name.startswith(self._absent):
            raise KernelError(errno.ENOENT, f"read sysctl {name}")
        return self.values.get(name, "0")

    def write(self, settings: Mapping[str, str | int]) -> None:
        for name, value in settings.items():
            if self.read(name) == str(value):
                continue
            if name in self._frozen:
                raise KernelError(errno.EROFS, f"set sysctl {name} to {value}")
            self.values[name] = str(value)

    def write_known(self, settings: Mapping[str, str | int]) -> tuple[str, ...]:
        unknown = tuple(name for name in settings if name.startswith(self._absent))
        self.write({name: value for name, value in settings.items() if name not in unknown})
        return unknown


def path_of(name: str) -> Path:
    """`net.ipv4.conf.eth0/100.rp_filter` -> /proc/sys/net/ipv4/conf/eth0.100/rp_filter."""
    return ROOT.joinpath(*(part.replace("/", ".") for part in name.split(".")))


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
