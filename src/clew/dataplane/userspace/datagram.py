"""UDP through the proxy: a socket of its own for each client, so that answers find back; given up when it is quiet.

What a client sends while its socket stands goes to the same backend. Answers leave from the address that was sent to
(IP_PKTINFO), which is not always the one that routing would choose: else nobody knows them for answers. Runs on the
loop.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from clew.base.clock import Clock
from clew.dataplane.userspace.objects import At

Ancillary = tuple[int, int, bytes]
Peer = tuple[str, int] | tuple[str, int, int, int]
DATAGRAM = 65535  # bytes
IDLE_SECONDS = 30.0  # the kernel forgets an unanswered UDP flow after as long
MOST = 1000  # datagrams handled in one go
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50  # linux/in.h, linux/in6.h
_buffer = memoryview(bytearray(DATAGRAM))

Dial = Callable[[str], tuple[socket.socket, At] | None]  # a connected socket for this client; None: nobody is left


class Session:
    def __init__(self, backend: socket.socket, at: At, now: float) -> None:
        self.backend, self.at, self.last = backend, at, now
        self.answer_from: list[Ancillary] = []


class DatagramWay:
    """One UDP port of the proxy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, dial: Dial, clock: Clock) -> None:
        self._loop, self._listener, self._dial, self._clock = loop, listener, dial, clock
        self._sessions: dict[Peer, Session] = {}
        for level, option in ((socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, IPV6_RECVPKTINFO)):
            with contextlib.suppress(OSError):  # of the two one is for the other family
                listener.setsockopt(level, option, 1)
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
                size, ancillary, _, peer = self._listener.recvmsg_into([_buffer], 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier answer
            self._forward(peer, _buffer[:size], [_answer_from(each) for each in ancillary])

    def _forward(self, peer: Peer, data: memoryview, answer_from: list[Ancillary]) -> None:
        """To the client's backend; where that refuses, once more to the next."""
        for _ in range(2):
            session = self._sessions.get(peer) or self._begin(peer)
            if session is None:
                return
            session.last = self._clock.monotonic()
            session.answer_from = answer_from
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
                self._listener.sendmsg([_buffer[:size]], session.answer_from, 0, peer)

    def _end(self, peer: Peer) -> None:
        session = self._sessions.pop(peer, None)
        if session is not None:
            self._loop.remove_reader(session.backend)
            session.backend.close()


def _answer_from(arrived: Ancillary) -> Ancillary:
    """The address that a datagram was sent to, as the one to answer from; by whichever interface."""
    level, kind, data = arrived
    if level == socket.IPPROTO_IPV6:  # struct in6_pktinfo: address, interface
        return level, IPV6_PKTINFO, data[:16] + bytes(4)
    return (
        level,
        kind,
        bytes(4) + data[8:12] + bytes(4),
    )  # struct in_pktinfo: interface, local address, header's address
