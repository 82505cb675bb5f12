"""Folders that several labs share: each takes away what is empty when it ends, while another one begins."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clew.kernel.files import FileLock, make_folder

ROUNDS = 100
TAKE_AWAY = """
import os, sys
print("at work", flush=True)
while True:
    try:
        os.rmdir(sys.argv[1])
    except OSError:
        pass
"""


@contextmanager
def taken_away(folder: Path) -> Iterator[None]:
    """As often as it is empty, by a process beside."""
    with subprocess.Popen([sys.executable, "-c", TAKE_AWAY, folder], stdout=subprocess.PIPE) as beside:
        try:
            assert beside.stdout is not None
            beside.stdout.readline()
            yield
        finally:
            beside.kill()


def test_a_folder_is_made_whoever_takes_the_one_above_away(tmp_path: Path) -> None:
    """`clew up` while a `clew down` ended: "cannot make lab NAME: No such file or directory: /var/lib/clew/NAME"."""
    with taken_away(tmp_path / "clew"):
        for _ in range(ROUNDS):
            make_folder(tmp_path / "clew" / "lab", 0o700)
            (tmp_path / "clew" / "lab").rmdir()


def test_a_lock_is_taken_whoever_takes_its_folder_away(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "clew" / "lab.lock")
    with taken_away(tmp_path / "clew"):
        for _ in range(ROUNDS):
            lock.acquire()
            lock.release(remove=True)
            with suppress(OSError):
                (tmp_path / "clew").rmdir()
