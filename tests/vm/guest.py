"""A guest: Debian's stock kernel under qemu, with this machine's own files, running commands as root.

The host's root file system is shared read only, so the checkout, its virtual environment and every installed program
are there under their own paths; what the guest writes stays in its memory and vanishes with it. It has no network card.
qemu interprets (TCG): hardware virtualisation would be faster, but a machine that is itself a guest may offer /dev/kvm
and then hang. Python runs about ten times slower than outside, and slower still where others use the machine: how slow
it is just now is measured, and every limit grows with it.

Used by the `guest` fixture of conftest.py, and by hand: `python -m tests.vm COMMAND…`.
"""

import compileall
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Literal, Self

from tests import packages
from tests.vm import kernel
from tests.vm.kernel import CannotBootError

Stream = Literal["stdout", "stderr"]
Show = Callable[[Stream, str], object]  # gets a line of output as it comes

ROOT = Path(__file__).parents[2]
SERVE = Path(__file__).with_name("serve.sh")
FOLDER = "clew-vm-"  # and the process that made it
BOOT_SECONDS = 120  # idle it takes three
GRACE = 30  # seconds beyond a command's own limit until the guest itself is given up
MEMORY = 2048  # MiB, taken as they are touched
PROBE = "import asyncio, json, ssl, http.client; [json.dumps({str(n): [n] * 3}) for n in range(20_000)]"
PROBED = 2.0  # seconds that PROBE takes in the guest of an idle machine, which all limits were chosen for; outside: 0.2
PATIENCE = 200  # seconds in such a guest, where tests outside wait for 15
QUIET = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on tsc=reliable cryptomgr.notests apparmor=0"
    " no_timer_check"  # a machine that stalls while the kernel looks at its timer had it panic: there seemed to be none
)


@dataclass(frozen=True)
class Done:
    """What a command left: exit status (124: its time was over), standard output and error, seconds it took."""

    command: str
    status: int
    stdout: str
    stderr: str
    seconds: float

    def ok(self) -> Self:
        """The same, or AssertionError with the output."""
        over = ": its time was over" if self.status == 124 else ""
        said = f"{self.stdout[-6000:]}\n{self.stderr[-6000:]}"
        how = f"status {self.status}{over} after {self.seconds:.0f} s in the guest"
        assert self.status == 0, f"{how}: {self.command}\n{said}"
        return self

    def passed(self) -> int:
        """How many tests ran, of a `pytest` that found no fault."""
        counted = re.search(r"(\d+) passed", self.ok().stdout)
        return int(counted[1]) if counted else 0


class Guest:
    """A running guest. Commands may run side by side; each has a folder of its own in the share."""

    def __init__(self, show: Show = lambda _stream, _line: None) -> None:
        self._show = show
        self.slowness = 1.0  # so many times longer takes all than in the guest of an idle machine
        self._kernel = kernel.ready(lambda line: show("stderr", line))
        _sweep()
        _compile()
        self._folder = TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-")
        self.share = Path(self._folder.name)  # the guest's /guest, which both may write
        (self.share / "serve.sh").write_bytes(SERVE.read_bytes())
        self._number = 0
        self._lock = threading.Lock()
        self._waiting: dict[str, queue.SimpleQueue[bool]] = {"ready": queue.SimpleQueue()}
        self._qemu = subprocess.Popen(self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._listen, name="guest", daemon=True).start()
        try:
            self._await("ready", BOOT_SECONDS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        *command: str | Path,
        seconds: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a program in the checkout's folder; its limit is `limit(seconds)`, after which its status is 124.

        Raises CannotBootError where the guest itself ended or does not answer any more.
        """
        with self._lock:
            self._number += 1
            number = str(self._number)
            self._waiting[number] = queue.SimpleQueue()
        job = self.share / number
        job.mkdir()
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        known = {"PATH": path, "CLEW_CACHE": str(packages.cache_folder())}
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in {**known, **(environment or {})}.items())
        (job / "command").write_text(
            f"cd {shlex.quote(str(ROOT))}\nexport {words}\nexec {shlex.join(map(str, command))}\n"
        )
        for name in ("stdout", "stderr"):
            (job / name).touch()
        started = time.monotonic()
        seconds = self.limit(seconds)
        with self._lock:
            assert self._qemu.stdin is not None
            self._qemu.stdin.write(f"{number} {seconds:.0f}\n".encode())
            self._qemu.stdin.flush()
        follow = [_Follow(job, "stdout", self._show), _Follow(job, "stderr", self._show)]
        self._await(number, seconds + GRACE, lambda: [each.more() for each in follow])
        for each in follow:
            each.more(last=True)
        texts = [(job / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        status, took = int((job / "status").read_text()), time.monotonic() - started
        return Done(shlex.join(map(str, command)), status, *texts, took)

    def limit(self, seconds: float) -> float:
        """What is `seconds` in the guest of an idle machine, at this guest's speed."""
        return seconds * self.slowness

    def measure(self) -> None:
        """See how slow the guest is just now: this machine, and whatever else runs on it."""
        took = min(self.python("-c", PROBE, seconds=600).ok().seconds for _ in range(2))  # the first reads its files
        self.slowness = max(1.0, took / PROBED)
        self._show("stderr", f"limits are {self.slowness:.1f} times the usual: a probe took {took:.1f} s, not {PROBED}")

    def python(self, *arguments: str | Path, seconds: float = 120) -> Done:
        """The interpreter of this process, in the guest."""
        return self.run(sys.executable, *arguments, seconds=seconds)

    def pytest(
        self, *arguments: str | Path, seconds: float = 600, environment: Mapping[str, str] | None = None
    ) -> Done:
        """Tests of this repository, run in the guest: arguments as pytest takes them. Status 5: none was selected.

        A line for each, as it is over: the guest is slow, and who waits wants to see that it goes on.
        """
        self.measure()
        options = ("-v", "-p", "no:cacheprovider", "-o", f"timeout={self.limit(600):.0f}", "--durations=5")
        module = (sys.executable, "-X", "faulthandler", "-m", "pytest")
        known = {"CI": "1", "CLEW_PATIENCE": f"{self.limit(PATIENCE):.0f}", **(environment or {})}
        return self.run(*module, *options, *arguments, seconds=seconds, environment=known)

    def close(self) -> None:
        """End the guest. Nothing in it is worth a shutdown."""
        self._qemu.kill()
        self._qemu.wait(10)
        for pipe in (self._qemu.stdin, self._qemu.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def console(self) -> str:
        """What the kernel said, and qemu."""
        log = self.share / "console"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def _command(self) -> list[str]:
        files, share = "security_model=none,readonly=on,multidevs=remap", "security_model=none"
        processors = min(2, len(os.sched_getaffinity(0)))  # what `taskset` leaves us is what the guest gets
        # setpriv: a test run that is killed takes its guest along
        return [
            "setpriv", "--pdeathsig", "KILL",
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-M", "pc",
            "-m", str(MEMORY), "-smp", str(processors), "-nodefaults", "-no-user-config", "-display", "none",
            "-nic", "none", "-no-reboot", "-serial", f"file:{self.share}/console", "-serial", "stdio",
            "-virtfs", f"local,path=/,mount_tag=host,{files}",
            "-virtfs", f"local,path={self.share},mount_tag=jobs,{share}",
            "-kernel", str(self._kernel.image), "-initrd", str(self._kernel.first_files),
            "-append", f"{QUIET} modules={self._kernel.modules}",
        ]  # fmt: skip

    def _listen(self) -> None:
        """The guest's second serial port: a line for each job that is over. Its end is the guest's."""
        assert self._qemu.stdout is not None
        for line in self._qemu.stdout:
            words = line.decode(errors="replace").split()
            if words and words[-1] in self._waiting:
                self._waiting[words[-1]].put(True)
        for waiting in list(self._waiting.values()):
            waiting.put(False)

    def _await(self, what: str, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                alive = self._waiting[what].get(timeout=0.2)
            except queue.Empty:
                meanwhile()
                if time.monotonic() < deadline:
                    continue
                raise CannotBootError(f"the guest did not answer within {seconds:.0f} s\n{self.console()}") from None
            if alive:
                return
            raise CannotBootError(f"the guest ended\n{self.console()}")


def _sweep() -> None:
    """Remove the folders of runs that were killed: qemu ends with its starter, its folder does not."""
    for folder in Path(gettempdir()).glob(f"{FOLDER}*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _compile() -> None:
    """Byte code beside every module that has none: the guest takes minutes for it, and loses it with its memory."""
    for folder in ("src", "tests", "bench"):
        compileall.compile_dir(ROOT / folder, quiet=2)


class _Follow:
    """Hands on, line by line, what a growing file holds."""

    def __init__(self, folder: Path, stream: Stream, show: Show) -> None:
        self._file, self._stream, self._show = folder / stream, stream, show
        self._rest = b""
        self._at = 0

    def more(self, *, last: bool = False) -> None:
        with self._file.open("rb") as file:
            file.seek(self._at)
            found = self._rest + file.read()
            self._at = file.tell()
        whole, _, self._rest = (found, b"", b"") if last else found.rpartition(b"\n")
        for line in whole.splitlines():
            self._show(self._stream, line.decode(errors="replace"))
