"""A bare container for an image: overlay, read-only binds and chroot in namespaces that end with the test."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from clew.cluster.images import Image, ImageService, OwnProgram

_SETUP = """
set -e
mount -t tmpfs tmpfs "$SCRATCH"
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/root"
mount -t overlay overlay -o "lowerdir=$LOWERS,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "$SCRATCH/root"
for bind in $BINDS; do
  mount --rbind "${bind%%:*}" "$SCRATCH/root${bind##*:}"
  mount -o remount,bind,ro "$SCRATCH/root${bind##*:}"
done
mount -t proc proc "$SCRATCH/root/proc"
mkdir -p "$SCRATCH/root/dev"
mount --rbind /dev "$SCRATCH/root/dev"
ip link set lo up
cd "$SCRATCH"
exec "$@"
"""


class Cell:
    """One container of an image; `start` runs a process in it, `run` another beside it."""

    def __init__(self, image: Image, scratch: Path) -> None:
        self.image = image
        self._scratch = scratch
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The image's own process, with `arguments` in place of its command; PID 1 of its namespaces."""
        argv = [*self.image.entrypoint, *(arguments or self.image.cmd)]
        return self._spawn(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts"], argv)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A program in a cell of its own, to its end."""
        process = self._spawn(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net"], list(argv))
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def beside(self, process: subprocess.Popen[str], *argv: str) -> subprocess.CompletedProcess[str]:
        """A program in the namespaces and the root of a process started here."""
        child = inner_pid(process)
        enter = ["nsenter", f"--target={child}", "--net", "--pid", "--mount", "--root", "--wd=/"]
        environment = dict(item.split("=", 1) for item in self.image.env)
        return subprocess.run([*enter, *argv], capture_output=True, text=True, timeout=30, check=False, env=environment)

    def close(self) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()

    def _spawn(self, namespaces: Sequence[str], argv: Sequence[str]) -> subprocess.Popen[str]:
        scratch = self._scratch / f"cell-{len(self._started)}"
        scratch.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "SCRATCH": str(scratch),
            "LOWERS": ":".join(self.image.lowers),
            "BINDS": " ".join(f"{bind.source}:{bind.target}" for bind in self.image.binds),
        }
        chroot = ["env", "-i", *self.image.env, shutil.which("chroot") or "", "root", *argv]
        process = subprocess.Popen(
            [*namespaces, "sh", "-c", _SETUP, "sh", *chroot],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._started.append(process)
        return process


def inner_pid(process: subprocess.Popen[str]) -> int:
    """The pid, as the machine sees it, of the process that unshare forked."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        if found := children.read_text(encoding="ascii").split():
            return int(found[0])
    raise AssertionError(f"it ended with {process.returncode}: {process.stderr.read() if process.stderr else ''}")


def signal_inner(process: subprocess.Popen[str], number: signal.Signals) -> None:
    os.kill(inner_pid(process), number)


@pytest.fixture
def images(tmp_path: Path) -> ImageService:
    return ImageService(tmp_path / "images", OwnProgram.running())


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Callable[[Image], Cell]]:
    made: list[Cell] = []

    def make(image: Image) -> Cell:
        scratch = tmp_path / f"cells-{len(made)}"
        scratch.mkdir()
        made.append(Cell(image, scratch))
        return made[-1]

    yield make
    for one in made:
        one.close()
