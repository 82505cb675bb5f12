"""Further processes in a running container: kubectl exec, hooks and probes by exec.

The streams of a session are handed over as descriptors, so that its bytes never pass through here; only the exit code
does. A probe's output is collected here instead.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from clew.cluster.runtime.supervisor import runc, spawn
from clew.cluster.runtime.supervisor.console import Console
from clew.cluster.runtime.supervisor.loop import READ, Loop, Timer
from clew.cluster.runtime.supervisor.records import Record
from clew.cluster.runtime.supervisor.wire import words

_FOLDER = Path("/run/clew-exec")
_CANNOT_RUN = 126  # as shells say it
MOST_OUTPUT = 10 << 10  # bytes of output that are kept of a hook or probe


class ExecRequest(NamedTuple):
    argv: list[str]
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


class Exec:
    """One process on its way into a container and out again.

    `started(fds)` gets our ends [stdin, stdout, stderr] (a tty: one descriptor), -1 where not asked for; `ended(code)`
    comes after it. `failed(reason)` comes instead of both.
    """

    numbers = count()

    def __init__(
        self, loop: Loop, started: Callable[[list[int]], None], ended: Callable[[int], None],
        failed: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._loop = loop
        self._started = started
        self._ended = ended
        self._failed = failed
        self._folder = _FOLDER / str(next(self.numbers))
        self._console: Console | None = None
        self._ours: list[int] = []
        self.pid = 0
        self._killed = False

    def start(self, record: Record, request: ExecRequest) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "process.json").write_text(json.dumps(_process(record["process"], request)), encoding="utf-8")
        theirs: list[int] = []
        try:
            if request.tty:
                self._console = Console(self._folder)
                ends = [-1, -1, -1]
            else:
                ends, self._ours = _pipes(request)
                theirs = [fd for fd in ends if fd >= 0]
            command = runc.execute(record["id"], self._folder, self._console.path if self._console else None)
            pid = spawn.start(command, stdin=ends[0], stdout=ends[1], stderr=ends[2])
        except OSError as problem:
            self._give_up(words(problem))
            return
        finally:
            for fd in theirs:
                os.close(fd)
        self._loop.on_exit(pid, self._runtime_ended, names_another=True)

    def kill(self) -> None:
        """End it, or do so as soon as it has begun."""
        self._killed = True
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _runtime_ended(self, status: int) -> None:
        if status:
            self._give_up(runc.failure(self._folder))
            return
        try:
            self.pid = runc.pid_in(self._folder)
            if self._console is not None:
                self._ours = [self._console.take()]
        except (OSError, ValueError) as problem:
            self._give_up(words(problem))
            return
        self._tidy()
        ours, self._ours = self._ours, []
        self._started(ours)
        self._loop.on_exit(self.pid, self._process_ended)
        if self._killed:
            self.kill()

    def _process_ended(self, status: int) -> None:
        self.pid = 0
        self._ended(spawn.exit_code(status)[0])

    def _give_up(self, reason: str) -> None:
        self._tidy()
        for fd in self._ours:
            if fd >= 0:
                os.close(fd)
        self._failed(reason)

    def _tidy(self) -> None:
        if self._console is not None:
            self._console.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class CollectedExec:
    """An exec without input whose output is kept; `done` is told {"code", "output", "timed_out", "problem"} once."""

    def __init__(self, loop: Loop, done: Callable[[dict[str, Any]], None]) -> None:
        self._loop = loop
        self._done = done
        self._text = bytearray()
        self._fds: list[int] = []
        self._code: int | None = None
        self._timer: Timer | None = None
        self._timed_out = False
        self._exec = Exec(loop, self._started, self._ended, lambda reason: self._answer(_CANNOT_RUN, reason))

    def start(self, record: Record, argv: list[str], timeout: float) -> None:
        """`timeout` in seconds; 0 is none."""
        if timeout > 0:
            self._timer = self._loop.later(timeout, self._expire)
        self._exec.start(record, ExecRequest(argv))

    def _started(self, fds: list[int]) -> None:
        self._fds = [fd for fd in fds if fd >= 0]
        for fd in self._fds:
            os.set_blocking(fd, False)
            self._loop.watch(fd, READ, lambda _, fd=fd: self._read(fd))  # type: ignore[misc]

    def _read(self, fd: int) -> None:
        data = os.read(fd, 64 << 10)
        self._text += data[: max(0, MOST_OUTPUT - len(self._text))]
        if not data:
            self._close(fd)
            self._finish()

    def _ended(self, code: int) -> None:
        self._code = code
        self._finish()

    def _expire(self) -> None:
        self._timed_out = True
        self._exec.kill()
        for fd in list(self._fds):
            self._close(fd)
        self._finish()

    def _close(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)
        self._fds.remove(fd)

    def _finish(self) -> None:
        if self._code is not None and not self._fds:
            self._answer(self._code, "")

    def _answer(self, code: int, problem: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        output = self._text.decode(errors="replace")
        self._done({"code": code, "output": output, "timed_out": self._timed_out, "problem": problem})


def _process(own: dict[str, Any], request: ExecRequest) -> dict[str, Any]:
    """The container's own process with another command; a terminal says what it is."""
    env = list(own["env"])
    if request.tty and not any(entry.startswith("TERM=") for entry in env):
        env.append("TERM=xterm")
    return {**own, "args": request.argv, "terminal": request.tty, "env": env}


def _pipes(request: ExecRequest) -> tuple[list[int], list[int]]:
    """(the process's ends, ours), -1 where a stream is not wanted."""
    theirs, ours = [-1, -1, -1], [-1, -1, -1]
    if request.stdin:
        theirs[0], ours[0] = os.pipe()
    for number, wanted in ((1, request.stdout), (2, request.stderr)):
        if wanted:
            ours[number], theirs[number] = os.pipe()
    return theirs, ours
