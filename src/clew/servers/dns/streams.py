"""DNS over TCP (RFC 7766): many questions on a connection, answered as they are ready, not in their order."""

import asyncio
import struct
from collections.abc import Awaitable
from typing import cast

from clew.servers.dns.datagrams import Answerer, Peer, Reply
from clew.servers.dns.quick import Quick

_IDLE = 10.0  # seconds a client may stay silent (RFC 7766 section 6.2.3)
_MOST_CLIENTS = 1000
_MOST_WAITING = 100  # questions of one client that wait for an upstream; more are read when some are done


class Streams:
    """One listening socket's connections."""

    def __init__(self, quick: Quick, answer: Answerer) -> None:
        self.quick = quick
        self.answer = answer
        self.clients: set[_Client] = set()

    def connection(self) -> asyncio.Protocol:
        return _Client(self)

    async def stop(self) -> None:
        tasks = [task for client in self.clients for task in client.waiting]
        for client in list(self.clients):
            client.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Client(asyncio.Protocol):
    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.waiting: set[asyncio.Task[None]] = set()
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._full = False  # the way out is full

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but not by its class
        if len(self.streams.clients) >= _MOST_CLIENTS:
            self._transport.abort()
            return
        self.streams.clients.add(self)
        host, port, *rest = transport.get_extra_info("peername")
        self._peer = Peer(host.removeprefix("::ffff:"), port, (host, port, *rest), b"")
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self.streams.clients.discard(self)
        if self._idle:
            self._idle.cancel()
        for task in self.waiting:
            task.cancel()

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def _rest(self) -> None:
        """Something happened: the client has its time anew."""
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE, self._silent)

    def _silent(self) -> None:
        if self.waiting:
            self._rest()
        else:
            self.close()

    def data_received(self, data: bytes) -> None:
        self._rest()
        self._data += data
        self._read()

    def eof_received(self) -> bool:
        return bool(self.waiting)  # who asked and closed its half may still read the answer

    def pause_writing(self) -> None:
        self._full = True
        self._pace()

    def resume_writing(self) -> None:
        self._full = False
        self._read()

    def _pace(self) -> bool:
        """Whether to read on; the socket is held back where not."""
        go = not self._full and len(self.waiting) < _MOST_WAITING
        if self._transport and not self._transport.is_closing():
            if go:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
        return go

    def _read(self) -> None:
        done: list[bytes] = []
        at = 0
        while self._pace() and at + 2 <= len(self._data):
            end = at + 2 + int.from_bytes(self._data[at : at + 2])
            if end > len(self._data):
                break
            reply = self._reply(bytes(self._data[at + 2 : end]))
            at = end
            if not isinstance(reply, bytes):
                self._wait(reply)
            elif reply:
                done.append(struct.pack(">H", len(reply)) + reply)
            else:
                self.close()  # what is not DNS is not talked to
                return
        del self._data[:at]
        if done and self._transport:
            self._transport.write(b"".join(done))

    def _reply(self, raw: bytes) -> Reply:
        entry = self.streams.quick.young.get(raw[2:]) or self.streams.quick.again(raw[2:])
        if entry is not None and len(raw) >= 12:
            entry[1].slow += 1
            return raw[:2] + entry[0]()
        return self.streams.answer(raw, self._peer)

    def _wait(self, reply: Awaitable[bytes]) -> None:
        async def later() -> None:
            data = await reply
            if data and self._transport and not self._transport.is_closing():
                self._transport.write(struct.pack(">H", len(data)) + data)

        def over(task: asyncio.Task[None]) -> None:
            self.waiting.discard(task)
            self._read()
            if not self.waiting and self._transport and self._transport.is_closing():
                self.close()

        task = asyncio.get_running_loop().create_task(later())
        self.waiting.add(task)
        task.add_done_callback(over)
