"""UDP through the proxy: a socket of its own for each client, so that answers find back; given up when it is quiet.

What a client sends while its socket stands goes to the same backend. Runs on the loop.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from clew.base.clock import Clock
from clew.dataplane.userspace.objects import At

Peer = tuple[str, int] | tuple[str, int, int, int]
DATAGRAM = 65535  # bytes
IDLE_SECONDS = 30.0  # the kernel forgets an unanswered UDP flow after as long
MOST = 1000  # datagrams handled in one go
_buffer = memoryview(bytearray(DATAGRAM))

Dial = Callable[[str], tuple[socket.socket, At] | None]  # a connected socket for this client; None: nobody is left


class Session:
    def __init__(self, backend: socket.socket, at: At, now: float) -> None:
        self.backend, self.at, self.last = backend, at, now


class DatagramWay:
    """One UDP port of the proxy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, dial: Dial, clock: Clock) -> None:
        self._loop, self._listener, self._dial, self._clock = loop, listener, dial, clock
        self._sessions: dict[Peer, Session] = {}
        loop.add_reader(listener, self._from_clients)

    def __len__(self) -> int:
        return len(self._sessions)

    def close(self) -> None:
        """End every session; the listening socket is the caller's."""
        self._loop.remove_reader(self._listener)
        for peer in list(self._sessions):
            self._end(peer)

    def keep_only(self, serving: frozenset[At]) -> None:
        """End what goes to backends that serve no more: the next datagram finds another."""
        for peer, session in list(self._sessions.items()):
            if session.at not in serving:
                self._end(peer)

    def expire(self) -> None:
        """End what has been quiet for too long."""
        now = self._clock.monotonic()
        for peer, session in list(self._sessions.items()):
            if now - session.last > IDLE_SECONDS:
                self._end(peer)

    def _from_clients(self) -> None:
        for _ in range(MOST):
            try:
                size, peer = self._listener.recvfrom_into(_buffer)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier answer
            self._forward(peer, _buffer[:size])

    def _forward(self, peer: Peer, data: memoryview) -> None:
        """To the client's backend; where that refuses, once more to the next."""
        for _ in range(2):
            session = self._sessions.get(peer) or self._begin(peer)
            if session is None:
                return
            session.last = self._clock.monotonic()
            try:
                session.backend.send(data)
                return
            except BlockingIOError:
                return  # the backend's queue is full: UDP loses
            except OSError:
                self._end(peer)

    def _begin(self, peer: Peer) -> Session | None:
        dialled = self._dial(peer[0])
        if dialled is None:
            return None
        session = Session(*dialled, self._clock.monotonic())
        self._sessions[peer] = session
        self._loop.add_reader(session.backend, self._from_backend, peer, session)
        return session

    def _from_backend(self, peer: Peer, session: Session) -> None:
        for _ in range(MOST):
            try:
                size = session.backend.recv_into(_buffer)
            except BlockingIOError:
                return
            except OSError:  # it refused
                self._end(peer)
                return
            session.last = self._clock.monotonic()
            with contextlib.suppress(OSError):
                self._listener.sendto(_buffer[:size], peer)

    def _end(self, peer: Peer) -> None:
        session = self._sessions.pop(peer, None)
        if session is not None:
            self._loop.remove_reader(session.backend)
            session.backend.close()
