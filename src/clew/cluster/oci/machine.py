"""The node's own view of the machine: a private mount namespace over the host's files. Standard library only.

/run, /var/lib and /var/log are the node's own folders; /etc and /opt are the host's with the node's changes laid over
them; /sys shows the node's network. Nothing of it is seen outside.
"""

import os
from pathlib import Path

from clew.cluster.oci import syscalls
from clew.cluster.oci.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    mount,
)


def become(node: str, netns: str, tree: Path, keep: list[str], files: dict[str, str]) -> None:
    """Turn this process into the node. `keep`: folders of the host that stay where they are; `files`: texts in /etc."""
    syscalls.setns(netns, CLONE_NEWNET)
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWUTS)
    mount("none", "/", "", MS_REC | MS_SLAVE)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    syscalls.sethostname(node)
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in keep}
    groups = os.open("/sys/fs/cgroup", os.O_PATH | os.O_CLOEXEC)
    for path in ("etc", "opt"):
        _overlay(f"/{path}", tree / path)
    for name, text in files.items():
        _replace(Path("/etc", name), text)
    # opened before the first mount hides the tree
    own = {f"/{path}": _opened(tree / path) for path in ("run", "var/lib", "var/log")}
    for path, fd in own.items():
        mount(f"/proc/self/fd/{fd}", path, "", MS_BIND)
        os.close(fd)
    for path, fd in kept.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", path, "", MS_BIND | MS_REC)
        os.close(fd)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount(f"/proc/self/fd/{groups}", "/sys/fs/cgroup", "", MS_BIND | MS_REC)
    os.close(groups)
    if Path("/sys/fs/bpf").is_dir():
        mount("bpf", "/sys/fs/bpf", "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path in ("/run/netns", "/etc/cni/net.d", "/opt/cni/bin", "/var/log/pods", "/var/log/containers", "/run/lock"):
        Path(path).mkdir(parents=True, exist_ok=True)


def _opened(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder, os.O_PATH | os.O_CLOEXEC)


def _overlay(path: str, own: Path) -> None:
    upper, work = own / "upper", own / "work"
    upper.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    lower = path
    if not Path(path).is_dir():
        raise FileNotFoundError(f"{path} is not there")
    mount("overlay", path, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")


def _replace(path: Path, text: str) -> None:
    """A file of the node's own where the host may have a link."""
    if path.is_symlink() or path.exists():
        path.unlink()
    path.write_text(text)
