"""The standard streams of one container: read here, written to its log, shared with whoever is attached.

An attacher that takes nothing holds the container's output back, as a terminal would, but only for ten seconds; then
it is cut off, because a container must not hang for ever on somebody's lost connection.
"""

import errno
import fcntl
import os
import struct
import termios
from collections import deque
from contextlib import suppress

from clew.cluster.runtime.supervisor.connection import Connection
from clew.cluster.runtime.supervisor.logs import LogFile
from clew.cluster.runtime.supervisor.loop import READ, WRITE, Loop, Timer
from clew.cluster.runtime.supervisor.wire import CHUNK, MESSAGE, STDERR, STDIN, STDIN_END, STDOUT, Frame, frame

HELD_BACK = 1 << 20  # bytes an attacher may owe before the container waits for it
PATIENCE = 10.0
_NAMES = {STDOUT: b"stdout", STDERR: b"stderr"}


class Streams:
    """`stdin` is the write end or -1, `outputs` maps descriptors to STDOUT or STDERR; a tty is in both."""

    def __init__(self, loop: Loop, log: LogFile, *, stdin_once: bool = False, tty: bool = False) -> None:
        self._loop = loop
        self._log = log
        self._stdin_once = stdin_once
        self._tty = tty
        self._stdin = -1
        self._pending: deque[bytes] = deque()
        self._input_ends = False
        self._outputs: dict[int, bytes] = {}
        self._attached: list[Connection] = []
        self._patience: Timer | None = None

    def begin(self, stdin: int, outputs: dict[int, bytes]) -> None:
        self._stdin = stdin
        self._outputs = dict(outputs)
        if stdin >= 0:
            os.set_blocking(stdin, False)
        for fd in outputs:
            os.set_blocking(fd, False)
        self._listen(held=False)

    # Output.

    def _listen(self, *, held: bool) -> None:
        for fd in self._outputs:
            events = (0 if held else READ) | (WRITE if fd == self._stdin and self._pending else 0)
            if events:
                self._loop.watch(fd, events, lambda ready, fd=fd: self._ready(fd, ready))  # type: ignore[misc]
            else:
                self._loop.forget(fd)

    def _ready(self, fd: int, events: int) -> None:
        if events & WRITE:
            self._feed(WRITE)
        if events & READ and fd in self._outputs and not self._read(fd):
            self._ended(fd)

    def _read(self, fd: int) -> bool:
        """Take what is there; False at the end."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError as problem:  # a terminal whose last user is gone answers EIO
            if problem.errno not in {errno.EIO, errno.EBADF}:
                raise
            data = b""
        if not data:
            return False
        kind = self._outputs[fd]
        self._log.write(_NAMES[kind], data)
        if self._attached:
            self._share(frame(kind, data))
        return True

    def _share(self, data: bytes) -> None:
        for peer in list(self._attached):
            peer.send(data)
        if any(peer.backlog > HELD_BACK for peer in self._attached) and self._patience is None:
            self._listen(held=True)
            self._patience = self._loop.later(PATIENCE, self._cut_off)

    def _drained(self) -> None:
        if self._patience is not None and all(peer.backlog <= HELD_BACK for peer in self._attached):
            self._patience.cancel()
            self._patience = None
            self._listen(held=False)

    def _cut_off(self) -> None:
        self._patience = None
        for peer in [peer for peer in self._attached if peer.backlog > HELD_BACK]:
            peer.close()
        self._listen(held=False)

    def _ended(self, fd: int) -> None:
        kind = self._outputs.pop(fd)
        self._log.end(_NAMES[kind])
        self._loop.forget(fd)
        if fd == self._stdin:
            self._stdin = -1
            self._pending.clear()
        os.close(fd)

    def finish(self) -> None:
        """The container is gone: take what it left in the pipes, close all."""
        for fd in list(self._outputs):
            with suppress(OSError):
                while self._read(fd):
                    if not _more(fd):
                        break
            self._ended(fd)
        self._close_stdin()
        self._log.close()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # Attaching.

    def attach(self, peer: Connection) -> None:
        """From now on the peer gets the output and gives the input."""
        self._attached.append(peer)
        peer.on_frame = lambda found: self._take(peer, found)
        peer.on_close = lambda: self._detach(peer)
        peer.on_drained = self._drained

    def _detach(self, peer: Connection) -> None:
        if peer in self._attached:
            self._attached.remove(peer)
            self._drained()
            if self._stdin_once:
                self._end_input()

    def _take(self, peer: Connection, found: Frame) -> None:
        if found.type == STDIN:
            self._pending.append(found.payload)
            self._feed(0)
            peer.pause(len(self._pending) > 16)
        elif found.type == STDIN_END:
            if self._stdin_once and not self._tty:
                self._end_input()
        elif found.type == MESSAGE and (size := found.message.get("resize")):
            self.resize(*size)

    def tell_exit(self, code: int) -> None:
        for peer in list(self._attached):
            peer.tell({"exit": code})

    def resize(self, columns: int, rows: int) -> None:
        if self._tty and self._stdin >= 0:
            fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # Input.

    def _feed(self, _: int) -> None:
        while self._pending and self._stdin >= 0:
            try:
                sent = os.write(self._stdin, self._pending[0])
            except BlockingIOError:
                break
            except OSError:  # it does not read any more
                self._close_stdin()
                return
            self._pending[0] = self._pending[0][sent:]
            if not self._pending[0]:
                self._pending.popleft()
        if self._stdin < 0:
            self._pending.clear()
        elif self._stdin in self._outputs:
            self._listen(held=self._patience is not None)
        elif self._pending:
            self._loop.watch(self._stdin, WRITE, self._feed)
        else:
            self._loop.forget(self._stdin)
        if not self._pending:
            for peer in self._attached:
                peer.pause(False)
            if self._input_ends:
                self._close_stdin()

    def _end_input(self) -> None:
        self._input_ends = True
        self._feed(0)

    def _close_stdin(self) -> None:
        """For a pipe: the reader sees the end. A terminal stays, it is the output too."""
        if self._stdin >= 0 and self._stdin not in self._outputs:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1


def _more(fd: int) -> bool:
    """Whether a pipe or terminal holds more at this moment."""
    try:
        held = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    except OSError:
        return False
    return bool(int.from_bytes(held, "little"))
