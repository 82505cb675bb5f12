"""What a benchmark hands over: figures, each with its unit and, wherever there is one, a baseline of the same run.

A module bench/NAME.py measures one part. It has a docstring that says what and against what, and one function

    def figures(scale: float, say: Callable[[str], None]) -> Iterator[Figure]

`scale` 1.0 is the whole size; a test runs every module at a thousandth of it. `say` tells progress. The module runs as
root in a process of its own, is interrupted (SIGINT) when its time is over, and removes what it made in any case.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

Say = Callable[[str], None]


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """`goal` and `baseline` are in the value's unit; `more` where more is better."""

    what: str
    value: float
    unit: str
    baseline: float | None = None
    against: str = ""
    goal: float | None = None
    more: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better than the baseline."""
        if self.baseline is None or not self.value or not self.baseline:
            return None
        return self.value / self.baseline if self.more else self.baseline / self.value

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more else self.value <= self.goal


class Used(NamedTuple):
    cpu: float  # seconds, user and system, of this process and its finished children
    wall: float


def cpu() -> float:
    """Seconds used so far by this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(action: Callable[[], object]) -> Used:
    before, began = cpu(), time.perf_counter()
    action()
    return Used(cpu() - before, time.perf_counter() - began)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def process_cpu(pid: int) -> float:
    """Seconds of CPU that a running process has used so far in all its threads."""
    used = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that ends while its siblings are read
            used += int((task / "schedstat").read_text().split()[0])
    return used / 1e9


def resident(pid: int | None = None) -> float:
    """MiB of memory that a process holds."""
    pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def scaled(whole: int, scale: float, least: int = 1) -> int:
    return max(least, round(whole * scale))


def allow_files(count: int) -> None:
    """Let this process have so many open, as far as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard > 0 else count, hard))


def modules() -> list[str]:
    """Names of all benchmarks: the modules beside this one that have `figures`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef figures(" in path.read_text())
