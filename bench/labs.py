"""A lab for a benchmark: brought up by the command, looked at from outside, removed in any case."""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from bench.figures import process_cpu
from clew.cluster.runtime.supervisor import cgroups

CLEW = str(Path(sys.executable).with_name("clew"))
PARTS = {"clew: node": "supervisors", "/pause": "pause", "sleep": "containers", "dns": "dns", "agent": "agents"}


class BenchLab:
    """`took` is the time of `clew up` in seconds."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.took = 0.0
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self._environment = {**os.environ, "PATH": path, "KUBECONFIG": str(folder / "config"), "CLEW_NAME": name}

    def run(self, *command: str, text: str = "") -> str:
        """Standard output; AssertionError with the complaint."""
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, env=self._environment, timeout=300
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def up(self, nodes: int, *more: str) -> None:
        began = time.monotonic()
        self.run(CLEW, "up", "--nodes", str(nodes), *more)
        self.took = time.monotonic() - began

    def processes(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        daemon = int(Path("/run/clew", self.name, "daemon.pid").read_text())
        found = defaultdict(list, daemon=[daemon])
        for pid in set(cgroups.members_below(f"/clew/{self.name}")) - {daemon}:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            found[next((kind for word, kind in PARTS.items() if word in words), "others")].append(pid)
        return found

    def memory(self) -> dict[str, float]:
        """MiB by part, each shared page counted once."""
        return {kind: sum(map(_share, pids)) / 1024 for kind, pids in self.processes().items()}

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU used so far: by part, and `all` with the containers and what started them."""
        parts = self.processes()
        used = {kind: sum(map(process_cpu, parts[kind])) for kind in ("daemon", "supervisors", "agents")}
        return {**used, "all": used["daemon"] + cgroups.usage(f"/clew/{self.name}")["cpu"] / 1e9}


def _share(pid: int) -> int:
    """KiB of a process, what it shares counted in part (PSS); 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


@contextmanager
def lab(nodes: int, *more: str) -> Iterator[BenchLab]:
    """`more`: further arguments of `clew up`."""
    with TemporaryDirectory() as folder:
        made = BenchLab(f"bench{os.getpid()}", Path(folder))
        try:
            made.up(nodes, *more)
            yield made
        finally:
            made.run(CLEW, "down")


def until(condition: Callable[[], bool], what: str, seconds: float = 300) -> float:
    """Seconds until the condition holds."""
    began, tick = time.monotonic(), Event()
    while not condition():
        assert time.monotonic() - began < seconds, f"it never came to pass: {what}"
        tick.wait(0.1)
    return time.monotonic() - began
