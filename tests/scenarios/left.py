"""What there is in a node's kernel that a service proxy could have written, in the words of the kernel's own tools."""

import re
import subprocess
from pathlib import Path

COMMANDS = (
    "nft list ruleset",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "ipset save",
    "ip -o addr show",
)
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
    return [NUMBERS.sub("", line).strip() for line in said if not NOISE.search(line)]
