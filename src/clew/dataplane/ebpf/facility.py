"""Where the node's sockets are: its control group; and what a machine needs for this mode.

The group is the one whose processes are the node's: on a machine of its own the root, in a lab the node's (its name is
in the file that the node's first process leaves), and for a network namespace that is none of these a group of its
own, which processes have to join.
"""

import errno
import os
from pathlib import Path

from clew.kernel import bpf, netns
from clew.kernel.bpf import kernel_types
from clew.kernel.errors import KernelError
from clew.kernel.nft import KernelNft

GROUP_FILE = Path("/run/clew/node-cgroup")
MOUNTS = Path("/proc/self/mountinfo")
LEAST = (6, 1)  # Linux from which programs can enter flows into connection tracking
TRANSLATE = "bpf_ct_set_nat_info"


def cgroup_root() -> Path | None:
    """Where the whole hierarchy of cgroup v2 is mounted; None where it is not."""
    for line in MOUNTS.read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        top, where = before.split(" ")[3:5]
        if after.startswith("cgroup2 ") and top == "/":
            return Path(where)
    return None


def cgroup(where: Path | None) -> Path:
    """The control group of a network namespace (None: the caller's). KernelError where there is no cgroup v2."""
    root = cgroup_root()
    if root is None:
        raise KernelError(errno.ENOENT, "find the control groups", detail="cgroup v2 is not mounted whole anywhere")
    if where is not None:
        return root / f"clew-netns-{netns.identity(where).inode}"
    name = GROUP_FILE.read_text(encoding="utf-8").strip() if GROUP_FILE.exists() else "/"
    return root / name.strip("/")


def missing(_where: Path | None = None) -> str:
    """What this machine lacks; "" where nothing."""
    lacking = bpf.missing()
    if lacking:
        return lacking
    if not kernel_types.FOLDER.joinpath(kernel_types.KERNEL).exists():
        return "this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)"
    if not _can_translate():
        return f"this kernel's connection tracking is not open to programs ({TRANSLATE}): it takes Linux 6.1 or newer"
    if cgroup_root() is None:
        return "cgroup v2 is not mounted, or only a part of it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    try:
        bpf.image("services")
        nft = KernelNft(None)
        try:
            nft.generation()
        finally:
            nft.close()
    except (OSError, KernelError) as refused:
        return str(refused)
    return ""


def _can_translate() -> bool:
    """In the kernel, in a module that is loaded, or in one that will be: nf_nat comes with the first nat chain."""
    for name in (kernel_types.KERNEL, "nf_nat", "nf_conntrack"):
        path = kernel_types.FOLDER / name
        if path.exists() and TRANSLATE.encode() in path.read_bytes():
            return True
    numbers = os.uname().release.split(".")
    return (int(numbers[0]), int(numbers[1])) >= LEAST and not (kernel_types.FOLDER / "nf_nat").exists()
