"""All benchmarks: what each part costs beside a baseline of the same run. As root.

Prints a Markdown table a benchmark and the machine's facts on standard output, progress on standard error. Exit status
1 where one could not be measured; a goal that is missed is a figure, not a failure.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from bench import machine, table
from bench.figures import Figure, modules

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "bench.md"
MARK = "## Latest run"  # what follows it on the page is written by --docs
GRACE = 30.0  # seconds that an interrupted benchmark has to remove what it made


class Outcome(msgspec.Struct):
    """What became of one benchmark."""

    name: str
    about: str = ""
    seconds: float = 0.0
    figures: list[Figure] = []
    problem: str = ""

    def take(self, line: str) -> None:
        """An event of the benchmark's output; whatever else is in it is shown as progress."""
        try:
            found: Any = json.loads(line)
            if "figure" in found:
                figure = msgspec.convert(found["figure"], Figure)
                self.figures.append(figure)
                progress(f"   {figure.what}: {table.number(figure.value)} {figure.unit}")
            elif "about" in found:
                self.about = found["about"]
            else:
                progress(f"   {found['say']}")
        except (ValueError, TypeError, KeyError):
            progress(f"   {line.rstrip()}")


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def measure(name: str, scale: float, limit: float) -> Outcome:
    """Run one benchmark; beyond its limit it is interrupted, and killed when it does not end then."""
    progress(f"== {name}")
    found, began = Outcome(name), time.monotonic()
    child = subprocess.Popen(  # in the checkout, wherever this command was typed
        [sys.executable, "-m", "bench.one", name, str(scale)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    timers = [
        threading.Timer(limit, child.send_signal, (signal.SIGINT,)),
        threading.Timer(limit + GRACE, child.kill),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            found.take(line)
        status = child.wait()
    finally:
        for timer in timers:
            timer.cancel()
    found.seconds = time.monotonic() - began
    if status:
        late = found.seconds >= limit
        found.problem = f"stopped after {limit:.0f} s" if late else f"it ended with status {status}"
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=modules(), default=modules(), metavar="NAME", help=f"of {' '.join(modules())}"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole sizes (default 1)")
    parser.add_argument("--seconds", type=float, default=900, help="limit of each (default 900)")
    parser.add_argument("--json", type=Path, help="write all figures to this file as well")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/bench.md as well")
    return parser.parse_args()


def page(before: str, facts: str, tables: dict[str, str]) -> str:
    """The page with new tables in place of those of the same benchmarks; others stay."""
    kept, _, old = before.partition(MARK)
    known = {part.partition("\n")[0]: f"### {part}" for part in old.split("\n### ")[1:]}
    known |= tables
    return "\n".join([kept + MARK, "", facts, *(known[name].rstrip() + "\n" for name in sorted(known))])


def main() -> int:
    chosen = arguments()
    if os.geteuid():
        sys.exit("bench: namespaces and containers need root")
    facts = machine.facts()
    outcomes = [measure(name, chosen.scale, chosen.seconds) for name in chosen.only]
    tables = {each.name: table.benchmark(each.name, each.about, each.figures, each.problem) for each in outcomes}
    print("\n".join([table.machine(facts), *tables.values()]))
    if chosen.docs:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), table.machine(facts), tables), encoding="utf-8")
    if chosen.json:
        found = {"machine": facts, "scale": chosen.scale, "benchmarks": outcomes}
        chosen.json.write_bytes(msgspec.json.encode(found))
    return int(any(each.problem for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
