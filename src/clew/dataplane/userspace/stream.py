"""TCP through the proxy: accept, dial, and carry bytes both ways until both sides are done.

Bytes go from socket to socket through one buffer that all connections share: what the receiver does not take at once is
kept and the sender is not read meanwhile (back-pressure), so a slow reader costs one chunk of memory and a fast one
none. The end of one direction is handed on (half-close); the connection ends with the second, or with the first error.

Runs on the loop; sockets are made by the caller in the right network namespace.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

CHUNK = 256 << 10  # bytes read at once
_buffer = memoryview(bytearray(CHUNK))


class Pump:
    """One direction. `done` is called once, with whether it ended in peace."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: socket.socket, sink: socket.socket, done: Callable[[bool], None]
    ) -> None:
        self._loop, self._source, self._sink, self._done = loop, source, sink, done
        self._rest = memoryview(b"")
        loop.add_reader(source, self._readable)

    def stop(self) -> None:
        """Look at neither socket any more."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)

    def _readable(self) -> None:
        try:
            size = self._source.recv_into(_buffer)
        except BlockingIOError:
            return
        except OSError:
            self._done(False)
            return
        if not size:
            self._finish()
            return
        sent = self._send(_buffer[:size])
        if sent is not None and sent < size:
            self._rest = memoryview(bytes(_buffer[sent:size]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._writable)

    def _writable(self) -> None:
        sent = self._send(self._rest)
        if sent is None:
            return
        self._rest = self._rest[sent:]
        if not self._rest:
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._readable)

    def _send(self, data: memoryview) -> int | None:
        """How many bytes went; None where the connection is over."""
        try:
            return self._sink.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._done(False)
            return None

    def _finish(self) -> None:
        self._loop.remove_reader(self._source)
        with contextlib.suppress(OSError):  # the other side is gone already
            self._sink.shutdown(socket.SHUT_WR)
        self._done(True)


class Connection:
    """Both directions of one client's connection; closes both sockets when it is over, and says so."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: socket.socket,
        server: socket.socket,
        over: Callable[["Connection"], None],
    ) -> None:
        self._sockets = (client, server)
        self._over = over
        self._open = 2
        self._pumps = (Pump(loop, client, server, self._ended), Pump(loop, server, client, self._ended))

    def close(self) -> None:
        """At once, whatever is still on its way."""
        if self._open:
            self._open = 0
            for pump in self._pumps:
                pump.stop()
            for each in self._sockets:
                each.close()
            self._over(self)

    def _ended(self, peaceful: bool) -> None:  # noqa: FBT001 - the one thing there is to say
        if not peaceful:
            for each in self._sockets:  # a reset is handed on as one
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close()
            return
        self._open -= 1
        if not self._open:
            self._open = 1
            self.close()
