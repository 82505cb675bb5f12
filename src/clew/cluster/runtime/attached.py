"""BPF programs that a lab's control groups and devices hold: taken off when their node ends.

They would end with the group and the network by themselves, but a connection that still says goodbye to a dead peer
keeps both for a minute or two. Called by power; a kernel without BPF has nothing to take off.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clew.cluster.runtime.supervisor import cgroups
from clew.kernel import bpf
from clew.kernel.bpf.programs import KINDS
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Delete, Netlink, clsact

_SECTIONS = [section for section in KINDS if section.startswith("cgroup/")]


def take_off(group: str, networks: Iterable[Path]) -> None:
    """From a control group and the groups right below it, and from every device of these network namespaces."""
    for root in cgroups.hierarchies():
        top = root / group.strip("/")
        if (top / "cgroup.controllers").exists():
            for folder in (top, *(each for each in top.iterdir() if each.is_dir())):
                _release(folder)
    for network in networks:
        with suppress(KernelError), Netlink(network) as kernel:
            devices = [qdisc.dev for qdisc in kernel.qdiscs() if qdisc.kind == "clsact"]
            kernel.attempt([Delete(clsact(dev)) for dev in devices])


def _release(folder: Path) -> None:
    for section in _SECTIONS:
        with suppress(KernelError):
            for program in bpf.held(folder, section):
                bpf.release(program, folder)
                program.close()
