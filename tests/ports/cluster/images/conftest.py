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

_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc")
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


class Running:
    """A process started as PID 1 of a cell."""

    def __init__(self, process: subprocess.Popen[str], env: tuple[str, ...]) -> None:
        self._process = process
        self._env = dict(item.split("=", 1) for item in env)

    def inner_pid(self, comm: str = "") -> int:
        """The pid, as the machine sees it, once it is in its own root (and, if given, is the program `comm`)."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while self._process.poll() is None:
            found = children.read_text(encoding="ascii").split()
            with contextlib.suppress(OSError):  # it may end between two looks
                if found and self._is_inside(found[0], comm):
                    return int(found[0])
        out, err = self._process.communicate()
        raise AssertionError(f"it ended with {self._process.returncode}: {out} {err}")

    @staticmethod
    def _is_inside(pid: str, comm: str) -> bool:
        if os.path.samestat(Path(f"/proc/{pid}/root/").stat(), Path("/").stat()):
            return False
        return not comm or Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == comm

    def beside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A program in the namespaces and the root of this process."""
        enter = ["nsenter", f"--target={self.inner_pid()}", "--net", "--pid", "--mount", "--uts", "--root", "--wd"]
        return subprocess.run([*enter, *argv], capture_output=True, text=True, timeout=120, check=False, env=self._env)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.inner_pid(), number)

    def read_line(self, expected: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == expected + "\n"

    def communicate(self) -> tuple[str, str]:
        return self._process.communicate(timeout=120)

    def wait(self) -> int:
        self._process.communicate(timeout=120)
        return self._process.returncode

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.returncode is None:
            self._process.communicate()


class Cell:
    """One image in cells; `start` runs its process, `run` any program to its end, each from a fresh root."""

    def __init__(self, image: Image, scratch: Path) -> None:
        self.image = image
        self._scratch = scratch
        self._started: list[Running] = []

    def start(self, *arguments: str) -> Running:
        """The image's own process, with `arguments` in place of its command."""
        return self._spawn([*self.image.entrypoint, *(arguments or self.image.cmd)])

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        running = self._spawn(list(argv))
        out, err = running.communicate()
        return subprocess.CompletedProcess(list(argv), running.wait(), out, err)

    def close(self) -> None:
        for running in self._started:
            running.close()

    def _spawn(self, argv: Sequence[str]) -> Running:
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
            [*_NAMESPACES, "sh", "-c", _SETUP, "sh", *chroot],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._started.append(Running(process, self.image.env))
        return self._started[-1]


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
