"""A peer on the supervisor's socket: frames in, frames and descriptors out, never blocking."""

import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from clew.cluster.runtime.supervisor.loop import READ, WRITE, Loop
from clew.cluster.runtime.supervisor.wire import Frame, Frames, message


class _Outgoing(NamedTuple):
    data: memoryview
    fds: tuple[int, ...]


class Connection:
    """`on_frame` and `on_close` belong to whoever serves it; a session replaces those of the control protocol."""

    def __init__(self, loop: Loop, peer: socket.socket) -> None:
        self._loop = loop
        self._peer = peer
        self._frames = Frames()
        self._out: deque[_Outgoing] = deque()
        self._reading = True
        self.backlog = 0  # bytes not taken by the peer yet
        self.closed = False
        self.on_frame: Callable[[Frame], None] = lambda _: None
        self.on_close: Callable[[], None] = lambda: None
        self.on_drained: Callable[[], None] = lambda: None
        peer.setblocking(False)
        self._arm()

    def tell(self, content: dict[str, object], fds: Sequence[int] = ()) -> None:
        """A JSON message; `fds` are duplicated into the peer and closed here."""
        self.send(message(content), fds)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        if self.closed:
            _close_all(fds)
            return
        self._out.append(_Outgoing(memoryview(data), tuple(fds)))
        self.backlog += len(data)
        self._flush()

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - it is what is set
        """Stop or go on reading, as what is behind us has room."""
        if self._reading == paused:
            self._reading = not paused
            self._arm()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.forget(self._peer.fileno())
        self._peer.close()
        for waiting in self._out:
            _close_all(waiting.fds)
        self._out.clear()
        self.on_close()

    def _arm(self) -> None:
        if not self.closed:
            events = (READ if self._reading else 0) | (WRITE if self._out else 0)
            if events:
                self._loop.watch(self._peer.fileno(), events, self._ready)
            else:
                self._loop.forget(self._peer.fileno())

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data = self._peer.recv(256 << 10)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            frames = self._frames.feed(data)
        except ValueError:
            data, frames = b"", []
        if not data:
            self.close()
            return
        for found in frames:
            self.on_frame(found)

    def _flush(self) -> None:
        while self._out and not self.closed:
            data, fds = self._out[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
            try:
                sent = self._peer.sendmsg([data], ancillary)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            _close_all(fds)
            self.backlog -= sent
            if sent < len(data):
                self._out[0] = _Outgoing(data[sent:], ())
            else:
                self._out.popleft()
        self._arm()
        if not self._out and not self.closed:
            self.on_drained()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
