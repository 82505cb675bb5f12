"""Parts of a benchmark in processes of their own: `python -m MODULE …`, a line a message, ended by their input."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 20.0  # seconds from the end of its input to its own


@contextmanager
def child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        assert started.stdin is not None
        started.stdin.close()
        try:
            started.wait(PATIENCE)
        finally:
            started.kill()
            started.wait()


def told(started: subprocess.Popen[str]) -> str:
    """Its next line. Blocking."""
    assert started.stdout is not None
    line = started.stdout.readline()
    if not line:
        raise RuntimeError("a part of the benchmark ended before its time")
    return line.strip()
