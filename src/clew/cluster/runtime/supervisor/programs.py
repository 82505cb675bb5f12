"""Programs run in the node to their end, CNI plugins above all: input in, output out, a deadline."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from clew.cluster.runtime.supervisor import spawn
from clew.cluster.runtime.supervisor.loop import READ, WRITE, Loop, Timer

MOST_OUTPUT = 1 << 20  # bytes kept of each stream; the rest is read and dropped


class Program:
    """`done` is told {"code", "signal", "stdout", "stderr", "timed_out"} once, when it and its pipes have ended."""

    def __init__(self, loop: Loop, done: Callable[[dict[str, Any]], None]) -> None:
        self._loop = loop
        self._done = done
        self._input = memoryview(b"")
        self._stdin = -1
        self._output: dict[int, bytearray] = {}
        self._texts: list[bytearray] = []
        self._status: int | None = None
        self._timed_out = False
        self._timer: Timer | None = None
        self.pid = 0

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None, data: bytes, timeout: float) -> None:
        """Raises OSError when it cannot be started."""
        stdin, self._stdin = os.pipe()
        theirs = [stdin]
        for _ in range(2):
            ours, end = os.pipe()
            theirs.append(end)
            self._texts.append(bytearray())
            self._output[ours] = self._texts[-1]
        try:
            self.pid = spawn.start(argv, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], env=env)
        except OSError:
            for fd in (self._stdin, *self._output):
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self._begin(data, timeout)

    def _begin(self, data: bytes, timeout: float) -> None:
        self._input = memoryview(data)
        os.set_blocking(self._stdin, False)
        self._write(0)
        for fd in self._output:
            os.set_blocking(fd, False)
            self._loop.watch(fd, READ, lambda _, fd=fd: self._read(fd))  # type: ignore[misc]
        self._loop.on_exit(self.pid, self._ended)
        if timeout > 0:
            self._timer = self._loop.later(timeout, self._expire)

    def _write(self, _: int) -> None:
        with suppress(BlockingIOError):
            try:
                while self._input:
                    self._input = self._input[os.write(self._stdin, self._input) :]
            except BrokenPipeError:
                self._input = memoryview(b"")
        if self._input:
            self._loop.watch(self._stdin, WRITE, self._write)
        else:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, 64 << 10)
        except BlockingIOError:
            return
        kept = self._output[fd]
        if data:
            kept += data[: MOST_OUTPUT - len(kept)]
            return
        self._close(fd)
        self._finish()

    def _ended(self, status: int) -> None:
        self._status = status
        if self._timed_out:  # what it left behind may hold the pipes for ever
            for fd in list(self._output):
                self._close(fd)
        self._finish()

    def _expire(self) -> None:
        self._timed_out = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _close(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)
        del self._output[fd]

    def _finish(self) -> None:
        if self._status is None or self._output:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._stdin >= 0:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        code, number = spawn.exit_code(self._status)
        out, err = (text.decode(errors="replace") for text in self._texts)
        self._done({"code": code, "signal": number, "stdout": out, "stderr": err, "timed_out": self._timed_out})
