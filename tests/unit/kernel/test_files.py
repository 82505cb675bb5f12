"""Files that are replaced; folders that several labs share, of which each takes away what is empty when it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clew.kernel.files import FileLock, make_folder, replace

ROUNDS = 100
TAKE_AWAY = """
import os, sys, time
print("at work", flush=True)
while True:
    try:
        os.rmdir(sys.argv[1])
    except OSError:
        pass
    time.sleep(0.0001)
"""


@contextmanager
def taken_away(folder: Path) -> Iterator[None]:
    """Again and again where it is empty, by a process beside; one that never rested would win against any who tries."""
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


def test_a_replaced_file_is_on_disk_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename brought the old file back, and with it numbers of IPsec that had been used."""
    synced: list[tuple[Path, bytes]] = []
    path, fsync = tmp_path / "file", os.fsync
    path.write_bytes(b"old")

    def sync(fd: int) -> None:
        synced.append((Path(f"/proc/self/fd/{fd}").readlink(), path.read_bytes()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    replace(path, b"new")
    assert [(each == tmp_path, there) for each, there in synced] == [(False, b"old"), (True, b"new")]
