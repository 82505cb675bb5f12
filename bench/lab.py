"""A lab of three nodes: time from `clew up` to Ready with DNS answering, and the memory of its processes.

Each page of memory that processes share is counted once. The baseline of the time is a Python process that does
nothing, as many times as the lab starts one: what no lab in Python can save.
"""

import subprocess
import sys
from collections.abc import Iterator

from bench.figures import Figure, Say, measured, median, scaled
from bench.labs import lab


def figures(scale: float, say: Say) -> Iterator[Figure]:
    rounds = scaled(3, scale)
    times, used, sizes = [], [], []
    for number in range(rounds):
        say(f"lab {number + 1} of {rounds}")
        with lab(3) as at:
            times.append(at.took)
            used.append(at.cpu())
            counts = {kind: len(pids) for kind, pids in at.processes().items()}
            sizes.append(at.memory())
    interpreters = sum(counts.get(kind, 0) for kind in ("daemon", "supervisors", "agents", "dns")) + 1
    idle = [sys.executable, "-c", ""]
    empty = measured(lambda: [subprocess.run(idle, check=True) for _ in range(interpreters)]).wall
    yield Figure(
        "clew up: nodes Ready, DNS answers", median(times), "s", empty, f"{interpreters} empty Pythons", goal=6
    )
    for kind in used[0]:
        yield Figure(f"CPU by then: {kind}", median(each[kind] for each in used), "s")
    for kind in sorted(sizes[0]):
        yield Figure(f"memory: {counts.get(kind, 0)} {kind}", median(size.get(kind, 0) for size in sizes), "MiB")
    yield Figure("memory: all", median(sum(size.values()) for size in sizes), "MiB", goal=700)
