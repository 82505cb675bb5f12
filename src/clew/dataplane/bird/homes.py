"""Where a node's routes are told: a BIRD of our own, or one that runs already and includes a file of ours.

Ours is started with a folder for its file and socket. It outlives the agent where nothing ends both, and the next one
finds it by its socket; where it ended too, its routes stay in the kernel and its neighbours keep theirs (graceful
restart). Of somebody else's nothing is touched but that file: every name in it begins with MARK. Blocking; used by
apply.py.
"""

import errno
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Protocol

from clew.dataplane.bird import control, render
from clew.dataplane.bird.render import MARK
from clew.ir.routing import Speaker
from clew.kernel import files
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Netlink

PROTO = 12  # RTPROT_BIRD, rtnetlink(7)
STARTING = 5.0  # seconds for the control socket to answer
ENDING = 5.0  # seconds until one that was told to end is killed
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Home(Protocol):
    socket: Path  # where BIRD is asked

    def put(self, speaker: Speaker) -> None:
        """Let BIRD say this, and nothing that we told it before. KernelError where it cannot."""
        ...

    def holds(self) -> bool:
        """Whether a BIRD runs that was told."""
        ...

    def end(self) -> None:
        """Take what is ours away, and the routes of it."""
        ...


class OwnBird:
    """A BIRD of ours. `folder` holds its file and its socket."""

    def __init__(self, folder: Path, program: str = "bird") -> None:
        self._folder, self._program = folder, program
        self.socket = folder / "bird.ctl"
        self._file = folder / "bird.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = threading.Event()  # never set

    def put(self, speaker: Speaker) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._read(render.configuration(speaker))

    def holds(self) -> bool:
        return control.ask(self.socket, "show status") is not None

    def end(self) -> None:
        """One that exports nothing and keeps nothing removes what it finds."""
        if not self._file.exists():
            return
        self._read(render.nothing())
        control.ask(self.socket, "down")
        self._reap()
        self._file.unlink(missing_ok=True)

    def _read(self, text: str) -> None:
        files.replace(self._file, text.encode(), 0o600)
        answer = control.ask(self.socket, f'configure "{self._file}"') or self._start()
        if answer is not None:
            _accepted(answer)

    def _start(self) -> control.Answer | None:
        """Begin it; None when it answers, its words where it ended instead."""
        program = shutil.which(self._program, path=os.environ.get("PATH", PATH) + ":" + PATH)
        if program is None:
            detail = "there is no program bird: install BIRD 2 (apt-get install bird2), or choose another backend"
            raise KernelError(errno.ENOENT, "start BIRD", detail=detail)
        self._reap()
        command = [program, "-f", "-c", str(self._file), "-s", str(self.socket), "-P", str(self._folder / "pid")]
        if _former_routes():
            command.append("-R")
        log = (self._folder / "bird.log").open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            if control.ask(self.socket, "show status") is not None:
                return None
            if self._process.poll() is not None:
                said = (self._folder / "bird.log").read_text(errors="replace")
                return control.Answer(9000, said or f"it ended with status {self._process.returncode}")
            self._pause.wait(0.02)
        raise KernelError(errno.ETIMEDOUT, "start BIRD", detail=f"its socket does not answer in {STARTING:.0f} s")

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _former_routes() -> bool:
    """Whether one before left routes, which the next keeps until its neighbours have come (render.RECOVERY).

    Without any, as after a node's start, it would only keep new routes out for as long.
    """
    with Netlink() as kernel:
        return bool(kernel.routes(proto=PROTO))


class SharedBird:
    """Somebody else's BIRD, asked at `socket`; its own file includes `include`, which is ours alone."""

    def __init__(self, socket: Path, include: Path) -> None:
        self.socket, self._include = socket, include

    def put(self, speaker: Speaker) -> None:
        """Checked before it is taken: a file that BIRD refuses is not left to stand in its way when it starts anew."""
        found = self._protocols()
        if found is None:
            detail = f"no BIRD answers at {self.socket}: start it, or leave network.bird out for one of Clew's own"
            raise KernelError(errno.ECONNREFUSED, "configure BIRD", detail=detail)
        synced = {int(table[-1]) for kind, table, name in found if kind == "Kernel" and not name.startswith(MARK)}
        self._write(render.included(speaker, frozenset(synced)))
        if not self.holds():
            detail = f'its configuration does not read {self._include}: add the line include "{self._include}";'
            raise KernelError(errno.ENOENT, "configure BIRD", detail=detail)

    def holds(self) -> bool:
        return any(name.startswith(MARK) for _, _, name in self._protocols() or ())

    def end(self) -> None:
        text = self._include.read_text() if self._include.exists() else ""
        if MARK in text:
            for less in render.included_nothing(text):
                self._write(less)

    def _write(self, text: str) -> None:
        before = self._include.read_bytes() if self._include.exists() else (render.HEAD + "\n").encode()
        self._include.parent.mkdir(parents=True, exist_ok=True)
        for question in ("configure check", "configure"):
            files.replace(self._include, text.encode(), 0o640)
            answer = control.ask(self.socket, question)
            if answer is None or answer.refused:
                files.replace(self._include, before, 0o640)
            if answer is not None:
                _accepted(answer)

    def _protocols(self) -> list[tuple[str, str, str]] | None:
        """Kind, table and name of each; None where nobody answers."""
        answer = control.ask(self.socket, "show protocols")
        if answer is None:
            return None
        rows = [line.split() for line in answer.text.splitlines()[1:]]
        return [(row[1], row[2], row[0]) for row in rows if len(row) > 2]


def _accepted(answer: control.Answer) -> None:
    if answer.refused:
        raise KernelError(errno.EINVAL, "configure BIRD", detail=" ".join(answer.text.split()))
