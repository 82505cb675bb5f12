"""A node's control groups, in every hierarchy the machine has (v1, v2 or both). Standard library only."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Each mounted hierarchy's root."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.is_symlink()] if ROOT.exists() else []


def groups(prefix: str) -> Iterator[Path]:
    """Every group at or below `prefix`, the deepest first."""
    for root in hierarchies():
        top = root / prefix
        if top.is_dir():
            for folder, _, _ in os.walk(top, topdown=False):
                yield Path(folder)


def processes(prefix: str) -> set[int]:
    found: set[int] = set()
    for group in groups(prefix):
        try:
            found |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
        except OSError:
            continue
    return found - {0}


def kill_all(prefix: str, seconds: float = 5.0) -> None:
    """SIGKILL to everything in the groups, again until nothing is left or the time is over."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while (left := processes(prefix)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(pause)  # noqa: TID251 - no loop runs here: a node is being powered off
        pause = min(pause * 2, 0.05)


def remove_all(prefix: str) -> None:
    """The groups themselves; one that is still in use stays."""
    for group in groups(prefix):
        try:
            group.rmdir()
        except OSError:
            continue


def was_killed_for_memory(group: str) -> bool:
    """Whether the kernel killed something in this group because its limit was reached."""
    for root, name in (
        (ROOT / "memory", "memory.oom_control"),
        (ROOT / "unified", "memory.events"),
        (ROOT, "memory.events"),
    ):
        try:
            text = (root / group / name).read_text()
        except OSError:
            continue
        if any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in text.splitlines()):
            return True
    return False
