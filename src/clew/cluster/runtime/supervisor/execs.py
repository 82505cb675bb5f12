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
from clew.cluster.runtime.supervisor.loop import Loop
from clew.cluster.runtime.supervisor.records import Record
from clew.cluster.runtime.supervisor.wire import words

_FOLDER = Path("/run/clew-exec")


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
        self._loop.on_exit(pid, self._runtime_ended)

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
