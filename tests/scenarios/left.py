"""What there is in a node's kernel that a service proxy could have written, in the words of the kernel's own tools."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from clew.dataplane.ebpf import facility
from clew.kernel import bpf
from clew.kernel.bpf.programs import KINDS
from clew.kernel.netlink import Netlink

COMMANDS = (
    "nft list ruleset",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "ipset save",
    "ip -o addr show",
    "tc qdisc show",
)
SECTIONS = [section for section in KINDS if section.startswith("cgroup/")]
NOISE = re.compile(
    r"^#|^\*|^COMMIT|^:\w+ ACCEPT"  # tables that are there and empty say nothing
    r"|tentative|valid_lft|scope link"
)
NUMBERS = re.compile(r"\[\d+:\d+\]|packets \d+ bytes \d+|expires \S+| initval \S+")


def run_in(where: Path, command: str, text: str = "") -> str:
    """What a program says in a node's network."""
    inside = ["nsenter", f"--net={where}", *command.split()]
    done = subprocess.run(inside, input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{command}: {done.stderr}"
    return done.stdout


def snapshot(where: Path) -> list[str]:
    """Lines of rules, sets and addresses, without counters, and without what the kernel writes by itself."""
    said = [line for command in COMMANDS for line in run_in(where, command).splitlines()]
    lines = [NUMBERS.sub("", line).strip() for line in said if not NOISE.search(line)]
    return [*lines, *sorted(_programs(where))]


def _programs(where: Path) -> Iterator[str]:
    """What looks at the sockets of the node's control group, and at packets of its devices."""
    group = facility.cgroup(where) if facility.cgroup_root() else None
    for section in SECTIONS if group and group.is_dir() else ():
        for program in bpf.held(group, section):
            yield f"{section} {program.name} {program.tag}"
            program.close()
    with Netlink(where) as kernel:
        for dev in sorted({qdisc.dev for qdisc in kernel.qdiscs() if qdisc.kind == "clsact"}):
            yield from (f"{dev} {each.direction} {each.name} {each.tag}" for each in kernel.filters(dev))
