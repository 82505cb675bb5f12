"""The node's control groups: one path, present in every hierarchy of the machine, v1, v2 or both.

runc makes the groups of containers and fills in their limits; this module makes the node's own, joins it, reads what
became of a group and removes them. Standard library only; used by the supervisor and, after its end, by the handle.
"""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_TRIES = 100  # who takes groups away is slower than this


@cache
def hierarchies() -> list[Path]:
    """Mount points of every cgroup hierarchy under /sys/fs/cgroup; they do not change while a machine runs."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        where = before.split(" ")[4]
        if after.split(" ")[0] in {"cgroup", "cgroup2"} and where.startswith(str(ROOT)):
            found.append(Path(where))
    return found


def unified() -> bool:
    """Whether the machine has cgroup v2 and nothing else."""
    return (ROOT / "cgroup.controllers").exists()


def make(group: str) -> None:
    """Create `/clew/NAME/NODE/…` everywhere. On v2 every controller is handed down to it."""
    for root in hierarchies():
        for _ in range(_TRIES):
            with suppress(OSError):  # another lab's end took /clew away as empty in between
                _make_in(root, group)
                break
        else:
            _make_in(root, group)


def join(group: str) -> None:
    """Put the calling process into the group, wherever it exists."""
    for root in hierarchies():
        target = root / group.strip("/") / "cgroup.procs"
        if target.exists():
            target.write_text(str(os.getpid()), encoding="ascii")


def out_of_memory_kills(group: str) -> int:
    """How many processes of the group the kernel has killed for want of memory; 0 for a group that is gone."""
    below = group.strip("/")
    for events in (ROOT / below / "memory.events", ROOT / "memory" / below / "memory.oom_control"):
        with suppress(OSError):
            for line in events.read_text(encoding="ascii").splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
    return 0


def members(group: str) -> list[int]:
    """Processes in the group itself, as this process's namespace numbers them."""
    for root in hierarchies():
        with suppress(OSError):
            procs = root / group.strip("/") / "cgroup.procs"
            return [int(pid) for pid in procs.read_text(encoding="ascii").split() if pid != "0"]
    return []


def members_below(group: str) -> list[int]:
    """Every process of the group and the groups below it, once."""
    found: set[int] = set()
    for root in hierarchies():
        for folder, _, files in os.walk(root / group.strip("/")):
            if "cgroup.procs" in files:
                with suppress(OSError):
                    text = Path(folder, "cgroup.procs").read_text(encoding="ascii")
                    found.update(int(pid) for pid in text.split())
    return sorted(found - {0})  # 0: a process of a namespace that we do not see


def below(group: str, name: str) -> list[str]:
    """The groups of that name in the group, or one folder deeper."""
    top = hierarchies()[0] / group.strip("/")
    found = [*top.glob(name), *top.glob(f"*/{name}")]
    return [str(path.relative_to(hierarchies()[0])) for path in found]


def usage(group: str) -> dict[str, int]:
    """Bytes of memory and nanoseconds of processor time the group has used."""
    below = group.strip("/")
    found = {"memory": 0, "cpu": 0}
    with suppress(OSError, ValueError):
        if unified():
            found["memory"] = int((ROOT / below / "memory.current").read_text(encoding="ascii"))
            stat = (ROOT / below / "cpu.stat").read_text(encoding="ascii")
            found["cpu"] = int(stat.split("usage_usec ")[1].split("\n")[0]) * 1000
        else:
            found["memory"] = int((ROOT / "memory" / below / "memory.usage_in_bytes").read_text(encoding="ascii"))
            found["cpu"] = int((ROOT / "cpuacct" / below / "cpuacct.usage").read_text(encoding="ascii"))
    return found


def remove(group: str) -> list[str]:
    """Remove the group and all below it, everywhere; what is left (still in use) is returned."""
    left = []
    for root in hierarchies():
        top = root / group.strip("/")
        if not top.is_dir():
            continue
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)  # noqa: PTH106 - a Path for each of thousands of folders costs more than its removal
            except FileNotFoundError:
                continue
            except OSError:
                left.append(folder)
    return left


def remove_empty(group: str) -> None:
    """Remove the group where nothing is in it or below it; otherwise leave it be."""
    for root in hierarchies():
        with suppress(OSError):
            (root / group.strip("/")).rmdir()


def _make_in(root: Path, group: str) -> None:
    at = root
    for part in group.strip("/").split("/"):
        parent, at = at, at / part
        at.mkdir(exist_ok=True)
        if (parent / "cgroup.controllers").exists():
            _hand_down(parent)
        if (at / "cpuset.cpus").exists() and not (at / "cgroup.controllers").exists():
            _inherit_cpuset(parent, at)


def _hand_down(parent: Path) -> None:
    available = (parent / "cgroup.controllers").read_text(encoding="ascii").split()
    for controller in available:
        with suppress(OSError):  # one that has processes of its own in the parent, or needs a setting first
            (parent / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")


def _inherit_cpuset(parent: Path, child: Path) -> None:
    """A v1 cpuset takes no process before it has processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (child / name).read_text(encoding="ascii").strip():
            (child / name).write_text((parent / name).read_text(encoding="ascii"), encoding="ascii")
