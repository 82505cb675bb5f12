"""Process 1 of a test's machine (machine.py): furnishes it, then runs what it is told, a line of JSON at a time.

Its parent only waits: it has made the namespaces, whose first process is the child.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from clew.cluster.runtime.supervisor import cgroups
from clew.kernel import mounts, process

NEWCGROUP = 0x02000000
SPACES = process.NEWNS | process.NEWNET | process.NEWPID | process.NEWUTS | process.NEWIPC | NEWCGROUP
OWN = {"/run": "", "/tmp": "mode=1777", "/var": ""}
SHOWN = ("/var/lib/dpkg", "/var/lib/apt", "/var/cache")  # read-only: what packages are there


def enter(group: str) -> None:
    """New namespaces; that of control groups begins at `group`, in which there is then nobody: version 2 wants that."""
    cgroups.make(group)
    cgroups.join(group)
    process.unshare(SPACES)
    for root in cgroups.hierarchies():
        (root / group.strip("/") / "first").mkdir()
    cgroups.make(f"{group}/first")
    cgroups.join(f"{group}/first")


def furnish(settings: dict[str, Any]) -> None:
    mounts.propagation("/", mounts.PRIVATE)
    hierarchies = _hierarchies()
    kept = {path: os.open(path, os.O_PATH) for path in settings["keep"]}
    shown = {path: os.open(path, os.O_PATH) for path in SHOWN if Path(path).is_dir()}
    for point in reversed(mounts.mounted()):
        if point.path.startswith(tuple(f"{own}/" for own in OWN)):
            try:
                mounts.unmount(point.path)  # else we would hold other labs' namespaces
            except OSError as refused:  # one that a lab took away meanwhile
                if refused.errno not in {errno.EINVAL, errno.ENOENT}:
                    raise
    mounts.mount("", "/", flags=mounts.BIND | mounts.REMOUNT | mounts.RDONLY)
    for path, options in OWN.items():
        size = f",size={settings['var']}" if path == "/var" else ""
        mounts.mount("tmpfs", path, "tmpfs", options=f"{options or 'mode=755'}{size}")
    for path, fd in shown.items():
        _show(path, fd, read_only=True)
    for path, fd in kept.items():
        _show(path, fd, read_only=False)
    for folder in ("/run/lock", "/var/lib", "/var/log", "/var/tmp", settings["home"]):
        Path(folder).mkdir(parents=True, exist_ok=True)
    mounts.mount("proc", "/proc", "proc")
    mounts.mount("sysfs", "/sys", "sysfs")
    _mount_groups(hierarchies)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _show(path: str, fd: int, *, read_only: bool) -> None:
    """What lay at `path` before, there again, if it is hidden now."""
    if Path(path).exists() and os.path.samestat(os.stat(path), os.fstat(fd)):  # noqa: PTH116 - beside fstat
        return
    Path(path).mkdir(parents=True, exist_ok=True)
    mounts.bind(f"/proc/self/fd/{fd}", path, recursive=True, read_only=read_only)


def _hierarchies() -> list[tuple[str, str, str]]:
    """(mount point, type, options) of every control group hierarchy."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")
        if kind in {"cgroup", "cgroup2"}:
            said = [each for each in options.split(",") if each not in {"rw", "ro", "xattr", "nsdelegate"}]
            named = ["none", *said] if any(each.startswith("name=") for each in said) else said
            found.append((before.split(" ")[4], kind, ",".join(named) if kind == "cgroup" else ""))
    return found


def _mount_groups(hierarchies: list[tuple[str, str, str]]) -> None:
    """The machine's own control groups, where this machine's are."""
    if len(hierarchies) > 1:
        mounts.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", options="mode=755")
    for path, kind, options in hierarchies:
        Path(path).mkdir(exist_ok=True)
        mounts.mount(kind, path, kind, options=options)


def serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            done = subprocess.run(
                asked["argv"], input=asked["text"], env=asked["environment"], timeout=asked["seconds"],
                capture_output=True, text=True, check=False, cwd="/",
            )  # fmt: skip
            answer = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        except (OSError, subprocess.TimeoutExpired) as error:
            answer = {"code": -1, "out": "", "err": str(error)}
        _reap()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _reap() -> None:
    """Orphans become ours, as they become any first process's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    enter(told["group"])
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        furnish(told)
        serve()
