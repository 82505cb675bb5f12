"""Making the machine that a node is: namespaces, a root of its own, names. Runs once, before anything is served.

The node sees the machine's programs (/usr, read-only), its devices and its cgroups; /etc is the machine's with the
node's changes on top; everything else is the node's own folder, so that a hostPath, a lock file or a socket is where a
machine of its own would have it. Nothing mounted here appears on the host, and all of it ends with the last process.
"""

import json
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from clew.cluster.runtime.supervisor import cgroups
from clew.kernel import mounts, process

SHOWN = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
OWN = (
    *("dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var", "var/lib", "var/log"),
    *("var/cache", "var/spool", "var/tmp", "opt/cni/bin", "etc/cni/net.d", "var/log/pods", "var/log/containers"),
    "var/lib/kubelet/pods",
)
GROUP_FILE = "run/clew/node-cgroup"  # says which control group is this node's: what a machine of its own needs not say
PRIVATE = ".node"  # in the tree: what the node itself keeps, covered by no mount


class BootConfig(NamedTuple):
    """What the handle tells a new supervisor; paths are the host's."""

    name: str  # the node's
    netns: str  # pinned network namespace to enter
    tree: str  # the node's own disk
    socket: str
    group: str  # control group, "/clew/LAB/NODE"
    images: str  # folder with the images' layers, shown at the same path
    folders: list[str]  # further folders of the host shown at their own paths, read-only
    files: dict[str, str]  # content of /etc/resolv.conf, /etc/hosts, … by path
    links: dict[str, str]  # links in /etc that lead elsewhere than the machine's, by path
    version: str

    @staticmethod
    def parse(text: str) -> "BootConfig":
        return BootConfig(**json.loads(text))


def enter(config: BootConfig) -> None:
    """Join the node's control group and network; new namespaces for the rest, for children to begin in."""
    cgroups.make(config.group)
    cgroups.make(f"{config.group}/supervisor")
    cgroups.join(f"{config.group}/supervisor")
    network = os.open(config.netns, os.O_RDONLY | os.O_CLOEXEC)
    process.setns(network, process.NEWNET)
    os.close(network)
    process.unshare(process.NEWNS | process.NEWUTS | process.NEWIPC | process.NEWPID)


def build_root(config: BootConfig) -> None:
    """Turn the node's folder into its root file system and move there."""
    tree = Path(config.tree)
    _folders(tree)
    (tree / GROUP_FILE).write_text(config.group, encoding="utf-8")
    mounts.propagation("/", mounts.SLAVE)
    mounts.bind(config.tree, config.tree)
    mounts.propagation(config.tree, mounts.PRIVATE)
    for name in SHOWN:
        _show_system(tree, name)
    for folder in [config.images, *config.folders]:
        _show_folder(tree, folder)
    _etc(tree, config)
    _kernel_file_systems(tree)
    os.chdir(tree)
    mounts.pivot_root(config.tree)
    mounts.propagation("/", mounts.SHARED)
    socket.sethostname(config.name)


def _folders(tree: Path) -> None:
    """The node's own folders; what a reboot loses is lost: /run and /tmp."""
    for volatile in ("run", "tmp"):
        shutil.rmtree(tree / volatile, ignore_errors=True)
    for name in OWN:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in (f"{PRIVATE}/etc/upper", f"{PRIVATE}/etc/work", f"{PRIVATE}/pause"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    (tree / "root").chmod(0o700)
    for name in ("run/netns", "run/lock", "run/clew"):
        (tree / name).mkdir(exist_ok=True)
    for name, target in (("var/run", "/run"), ("var/lock", "/run/lock")):
        if not (tree / name).is_symlink():
            (tree / name).symlink_to(target)


def _show_system(tree: Path, name: str) -> None:
    host, here = Path("/", name), tree / name
    if host.is_symlink():
        if not here.is_symlink():
            here.symlink_to(host.readlink())
    elif host.is_dir():
        here.mkdir(exist_ok=True)
        mounts.bind(str(host), str(here), recursive=True, read_only=True)


def _show_folder(tree: Path, folder: str) -> None:
    """A folder of the host at its own path, unless it is shown already."""
    real = os.path.realpath(folder)
    if real == "/" or any(Path(real).is_relative_to(f"/{name}") for name in SHOWN) or not Path(real).is_dir():
        return
    here = tree / real.lstrip("/")
    here.mkdir(parents=True, exist_ok=True)
    mounts.bind(real, str(here), recursive=True, read_only=True)
    if real != folder and not (link := tree / folder.lstrip("/")).exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(real)


def _etc(tree: Path, config: BootConfig) -> None:
    """The machine's /etc below, the node's changes above; /etc/cni is the folder that the host can reach too."""
    cni = os.open(tree / "etc/cni", os.O_PATH | os.O_CLOEXEC)
    mounts.overlay(str(tree / "etc"), ["/etc"], str(tree / PRIVATE / "etc/upper"), str(tree / PRIVATE / "etc/work"))
    (tree / "etc/cni").mkdir(exist_ok=True)
    mounts.bind(f"/proc/self/fd/{cni}", str(tree / "etc/cni"))
    os.close(cni)
    for path, content in config.files.items():
        here = tree / path.lstrip("/")
        here.unlink(missing_ok=True)  # often a link into /run
        here.write_text(content, encoding="utf-8")
    for path, target in config.links.items():
        here = tree / path.lstrip("/")
        here.unlink(missing_ok=True)
        here.symlink_to(target)


def _kernel_file_systems(tree: Path) -> None:
    mounts.bind("/dev", str(tree / "dev"), recursive=True)
    shm = tree / "dev/shm"
    if shm.is_dir():
        mounts.mount("tmpfs", str(shm), "tmpfs", mounts.NOSUID | mounts.NODEV, "mode=1777,size=64m")
    mounts.mount("proc", str(tree / "proc"), "proc", mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
    mounts.mount("sysfs", str(tree / "sys"), "sysfs", mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
    if cgroups.ROOT.is_dir():
        mounts.bind(str(cgroups.ROOT), str(tree / "sys/fs/cgroup"), recursive=True)
    for name in ("sys/kernel/debug", "sys/kernel/tracing", "sys/kernel/security"):
        if Path("/", name).is_mount():
            mounts.bind(f"/{name}", str(tree / name), recursive=True)
    with suppress(OSError):  # a kernel without BPF objects pins none
        mounts.mount("bpf", str(tree / "sys/fs/bpf"), "bpf", mounts.NOSUID | mounts.NODEV | mounts.NOEXEC, "mode=700")
