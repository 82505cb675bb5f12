"""BIRD made to say what is wanted: its file written, the program started where it does not run, told to read it anew.

Blocking; called by node/podnet.py's worker. BIRD outlives the agent where nothing ends both, and the next one finds it
by its socket. Where it ended too, its routes stay in the kernel and its neighbours keep theirs (graceful restart).
"""

import errno
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from clew.dataplane.bird import control, render
from clew.ir.routing import Speaker
from clew.kernel import files
from clew.kernel.errors import KernelError

STARTING = 5.0  # seconds for the control socket to answer
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BirdPlane:
    """One node's router. `folder` holds its file and its socket."""

    def __init__(self, folder: Path, program: str = "bird") -> None:
        self._folder, self._program = folder, program
        self._socket = folder / "bird.ctl"
        self._file = folder / "bird.conf"
        self._wanted: str | None = None
        self._known = False  # what is wanted: until then a router that runs goes on
        self._done = ""  # what BIRD has read
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = threading.Event()  # never set

    def want(self, speaker: Speaker | None) -> None:
        """None: no router, and none of its routes."""
        self._known = True
        self._wanted = render.configuration(speaker) if speaker is not None else None

    @property
    def pending(self) -> bool:
        return self._known and (self._wanted or "") != self._done

    def read(self) -> None:
        """Whether it still runs, by what it was told; the next `sync` repairs."""
        if self._done and control.ask(self._socket, "show status") is None:
            self._done = ""

    def sync(self) -> None:
        """KernelError where the program is missing, does not start, or refuses its file; the difference stays."""
        if not self._known:
            return
        if self._wanted is None:
            self._end()
        elif self._wanted != self._done:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.replace(self._file, self._wanted.encode(), 0o600)
            answer = control.ask(self._socket, f'configure "{self._file}"') or self._start()
            if answer is not None and answer.refused:
                raise KernelError(errno.EINVAL, "configure BIRD", detail=" ".join(answer.text.split()))
            self._done = self._wanted

    def sessions(self) -> str:
        """BIRD's own table of its protocols; "" where it does not run."""
        answer = control.ask(self._socket, "show protocols")
        return answer.text if answer is not None else ""

    def _start(self) -> control.Answer | None:
        """Begin it; None when it answers, its words where it ended instead."""
        program = shutil.which(self._program, path=os.environ.get("PATH", PATH) + ":" + PATH)
        if program is None:
            detail = "there is no program bird: install BIRD 2 (apt-get install bird2), or choose another backend"
            raise KernelError(errno.ENOENT, "start BIRD", detail=detail)
        self._reap()
        command = [program, "-f", "-R", "-c", str(self._file), "-s", str(self._socket), "-P", str(self._folder / "pid")]
        log = (self._folder / "bird.log").open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            if control.ask(self._socket, "show status") is not None:
                return None
            if self._process.poll() is not None:
                said = (self._folder / "bird.log").read_text(errors="replace")
                return control.Answer(9000, said or f"it ended with status {self._process.returncode}")
            self._pause.wait(0.02)
        raise KernelError(errno.ETIMEDOUT, "start BIRD", detail=f"its socket does not answer in {STARTING:.0f} s")

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STARTING)
        self._process = None

    def _end(self) -> None:
        """Take our router away, and its routes: one that exports nothing and keeps nothing removes what it finds."""
        if not self._file.exists():
            return
        files.replace(self._file, render.nothing().encode(), 0o600)
        answer = control.ask(self._socket, f'configure "{self._file}"') or self._start()
        if answer is not None and answer.refused:
            raise KernelError(errno.EINVAL, "configure BIRD", detail=" ".join(answer.text.split()))
        control.ask(self._socket, "down")
        self._reap()
        self._file.unlink(missing_ok=True)
        self._done = ""
