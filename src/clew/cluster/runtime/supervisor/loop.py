"""One thread, one epoll: descriptors, timers and ended children, each with a callback.

asyncio would do the same for eight megabytes more per node. A callback that raises is a defect: it is logged and the
loop goes on, because the node's containers must not die of it.
"""

import heapq
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Ready = Callable[[int], None]
Ended = Callable[[int], None]

LONGEST = 30.0  # seconds between two attempts
KEPT = 5.0  # seconds that the status of a child nobody asked for yet is remembered, at least


class Timer:
    """A call to be made at a time; cancelling it is cheap."""

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self._call = None

    def fire(self, _: int = 0) -> None:
        if self._call is not None:
            call, self._call = self._call, None
            call()


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._children: dict[int, Ended] = {}
        self._strays: dict[int, tuple[int, float]] = {}  # pid -> (wait status, when)
        self._naming: dict[int, float] = {}  # children that name another one when they end: pid -> since when
        self._stop = False
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    # Descriptors.

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        """Call `ready(events)` whenever the descriptor is; replaces what was said of it before."""
        try:
            self._selector.modify(fd, events, ready)
        except KeyError:
            self._selector.register(fd, events, ready)

    def forget(self, fd: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    # Time.

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def again_and_again(self, attempt: Callable[[], bool], pause: float = 0.02) -> None:
        """Call it until it is true, with longer and longer pauses; after a minute nobody asks any more."""
        if not attempt() and pause < LONGEST:
            self.later(pause, lambda: self.again_and_again(attempt, 2 * pause))

    # Children.

    def on_exit(self, pid: int, ended: Ended, *, names_another: bool = False) -> None:
        """Call `ended(wait status)` once the child is reaped, also if that has happened already.

        `names_another`: by `ended` a child becomes known that this one has begun, and that may be gone for long by
        then: a container's runtime is slower than a short container on a machine that has much to do.
        """
        if names_another:
            self._naming[pid] = time.monotonic()
        stray = self._strays.pop(pid, None)
        if stray is None:
            self._children[pid] = ended
        else:
            status = stray[0]
            self.later(0, lambda: ended(status))

    def reap(self) -> None:
        """Take every ended child now. Process 1 is given all orphans of its namespace, most of which nobody knows."""
        now = time.monotonic()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            ended = self._children.pop(pid, None)
            if ended is None:
                self._strays[pid] = (status, now)
            else:
                self._guarded(ended, status)
            self._naming.pop(pid, None)
        oldest = min(now - KEPT, *self._naming.values()) if self._naming else now - KEPT
        for pid in [pid for pid, (_, at) in self._strays.items() if at < oldest]:
            del self._strays[pid]

    # The loop.

    def stop(self, *_: Any) -> None:
        self._stop = True

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self.watch(self._woken.fileno(), READ, self._drain)
        self.reap()
        while not self._stop:
            for key, events in self._selector.select(self._patience()):
                now = self._selector.get_map().get(key.fd)
                if now is not None and now.data == key.data:  # else an earlier callback of this round let go of it
                    self._guarded(key.data, events)
            self._fire()

    def _patience(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            self._guarded(timer.fire, 0)

    def _drain(self, _: int) -> None:
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        self.reap()

    def _guarded(self, call: Callable[[int], None], value: int) -> None:
        try:
            call(value)
        except Exception:  # noqa: BLE001 - see the module's docstring
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
