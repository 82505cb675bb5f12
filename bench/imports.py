"""What each process imports before it begins, against an empty Python; and the modules that cost the most.

Times are Python's own (`-X importtime`), of processes started one after the other; a module's is without those that it
imports itself.
"""

import re
import subprocess
import sys
from collections.abc import Iterator

from bench.figures import Figure, Say, median, scaled

PARTS = {
    "clew (the command)": "clew.cli.main",
    "the lab's daemon": "clew.app.lab",
    "a node's supervisor": "clew.cluster.runtime.supervisor.__main__",
    "the agent": "clew.app.agent",
    "cluster DNS": "clew.app.dns",
}
LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")
WORST = 5


def imports(module: str) -> dict[str, float]:
    """Milliseconds of each module's own."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}" if module else ""]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {found[4]: int(found[1]) / 1e3 for found in LINE.finditer(told)}


def figures(scale: float, say: Say) -> Iterator[Figure]:
    rounds = scaled(7, scale)
    say("an empty Python first")
    empty = median(sum(imports("").values()) for _ in range(rounds))
    for part, module in PARTS.items():
        runs = [imports(module) for _ in range(rounds)]
        yield Figure(part, median(sum(each.values()) for each in runs), "ms", empty, "an empty Python")
        typical = {name: median(each.get(name, 0.0) for each in runs) for name in runs[0]}
        for name in sorted(typical, key=lambda name: -typical[name])[:WORST]:
            yield Figure(f"· {name}", typical[name], "ms")
