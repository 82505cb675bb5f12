"""Connections into the node's or a pod's network, handed over as descriptors: port-forward and probes."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from clew.cluster.runtime.supervisor.loop import WRITE, Loop, Timer
from clew.kernel import process


class Connect:
    """Tries the addresses in order; `done(descriptor, "")` or `done(-1, reason)`, once."""

    def __init__(self, loop: Loop, done: Callable[[int, str], None]) -> None:
        self._loop = loop
        self._done = done
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._rest: list[str] = []
        self._port = 0
        self._netns = ""

    def start(self, netns: str, addresses: list[str], port: int, timeout: float) -> None:
        """`netns` is the path of a namespace, empty for the node's own; `timeout` in seconds for all of it."""
        self._rest, self._port, self._netns = list(addresses), port, netns
        self._timer = self._loop.later(timeout, lambda: self._end("i/o timeout"))
        self._next("no address")

    def _next(self, reason: str) -> None:
        if not self._rest:
            self._end(reason)
            return
        address = self._rest.pop(0)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = made = self._make(family)
            made.setblocking(False)
            number = made.connect_ex((address, self._port))
        except OSError as problem:
            self._next(problem.strerror or str(problem))
            return
        if number in {0, errno.EINPROGRESS}:
            self._loop.watch(made.fileno(), WRITE, self._connected)
        else:
            made.close()
            self._next(_words(number))

    def _make(self, family: int) -> socket.socket:
        if not self._netns:
            return socket.socket(family, socket.SOCK_STREAM)
        fd = os.open(self._netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with process.elsewhere(process.NEWNET):
                process.setns(fd, process.NEWNET)
                return socket.socket(family, socket.SOCK_STREAM)
        finally:
            os.close(fd)

    def _connected(self, _: int) -> None:
        made = self._socket
        if made is None:
            return
        self._loop.forget(made.fileno())
        number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            made.close()
            self._socket = None
            self._next(_words(number))
            return
        self._socket = None
        if self._timer is not None:
            self._timer.cancel()
        self._done(made.detach(), "")

    def _end(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            with suppress(OSError):
                self._socket.close()
            self._socket = None
        self._rest = []
        self._done(-1, reason)


def _words(number: int) -> str:
    """As Go's net package words it, since users know it from probes."""
    return {
        errno.ECONNREFUSED: "connection refused",
        errno.EHOSTUNREACH: "no route to host",
        errno.ENETUNREACH: "network is unreachable",
        errno.ETIMEDOUT: "connection timed out",
    }.get(number, os.strerror(number).lower())
