"""How long something took by itself: the time that went by, without what its threads waited for a core.

For tests of what has to happen within a second, which it does whatever else the machine does: limits by the clock alone
failed where other tests ran beside. On an idle machine both are the same.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


class OwnTime:
    """Of this process, the lab's agents and their BIRDs, from the moment on that it is made."""

    def __init__(self, lab: Any) -> None:
        self._lab = lab
        self._began, self._waited = time.monotonic(), self._waits()

    @property
    def waited(self) -> float:
        """Seconds for which threads were ready and others ran."""
        return self._waits() - self._waited

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began - self.waited

    def _waits(self) -> float:
        return sum(_waited(pid) for pid in self._pids()) / 1e9

    def _pids(self) -> Iterator[int]:
        yield os.getpid()
        for node in self._lab.nodes:
            if node.agent is not None:
                yield node.agent.pid
            with suppress(OSError, ValueError):  # it runs only where a protocol does, and may be starting
                yield int((node.root / "state" / "bird" / "pid").read_text())


def _waited(pid: int) -> int:
    """Nanoseconds of all threads (/proc/PID/task/TID/schedstat: on a core, waiting for one, how often)."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        try:
            found += int((thread / "schedstat").read_text().split()[1])
        except OSError:  # it ended meanwhile, or the kernel does not count
            continue
    return found
