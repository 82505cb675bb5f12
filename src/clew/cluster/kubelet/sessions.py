"""Live streams into containers: exec, attach and TCP, as the API server's NodeStreams has them.

An exec's streams are descriptors of its own, received from the supervisor: bytes go straight between the process and
this one. An attacher shares the container's streams with its log and with others, through the supervisor.
"""

import asyncio
import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import suppress

from clew.cluster.runtime.channel import SessionChannel
from clew.cluster.runtime.supervisor.wire import CHUNK, MESSAGE, STDERR, STDIN, STDIN_END, STDOUT, frame, message

_OUT, _ERR = 1, 2


class Descriptor:
    """One non-blocking pipe or terminal end on the loop."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)

    async def read(self) -> bytes:
        """Some bytes; empty at the end."""
        while self.fd >= 0:
            try:
                return os.read(self.fd, CHUNK)
            except BlockingIOError:
                await self._ready(reading=True)
            except OSError as problem:
                if problem.errno != errno.EIO:  # a terminal whose last user is gone
                    raise
                break
        return b""

    async def write(self, data: bytes) -> None:
        """All of it; a reader that is gone swallows it."""
        left = memoryview(data)
        while left and self.fd >= 0:
            try:
                left = left[os.write(self.fd, left) :]
            except BlockingIOError:
                await self._ready(reading=False)
            except OSError:
                return

    def close(self) -> None:
        if self.fd >= 0:
            self._loop.remove_reader(self.fd)
            self._loop.remove_writer(self.fd)
            os.close(self.fd)
            self.fd = -1

    async def _ready(self, *, reading: bool) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        fd = self.fd
        (self._loop.add_reader if reading else self._loop.add_writer)(fd, wake)
        try:
            await ready
        finally:
            if self.fd == fd:
                (self._loop.remove_reader if reading else self._loop.remove_writer)(fd)


class ExecSession:
    """A process beside a container's."""

    def __init__(self, channel: SessionChannel, streams: list[bool], *, tty: bool) -> None:
        self._channel = channel
        fds, channel.fds = channel.fds, []
        ends = iter([Descriptor(fd) for fd in fds])
        self._tty = tty
        found = [next(ends) if there else None for there in streams]
        self._stdin = found[0]
        # Errors are read first: where both wait, what a program complains of comes before an end that says it is done
        # (`kubectl cp` stops listening at the end of an archive).
        self._outputs = {_OUT: found[0]} if tty else {_ERR: found[2], _OUT: found[1]}
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiter = asyncio.create_task(self._wait(), name="exec")

    async def write(self, data: bytes) -> None:
        if self._stdin is not None:
            await self._stdin.write(data)

    async def end_input(self) -> None:
        """A pipe is closed; a terminal is hung up on when the session is."""
        if self._stdin is not None and not self._tty:
            self._stdin.close()

    async def resize(self, columns: int, rows: int) -> None:
        if self._tty and self._stdin is not None and self._stdin.fd >= 0:
            with suppress(OSError):
                fcntl.ioctl(self._stdin.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(8)

        async def pump(number: int, end: Descriptor) -> None:
            while data := await end.read():
                await queue.put((number, data))
            await queue.put((number, b""))

        ends = {number: end for number, end in self._outputs.items() if end is not None}
        tasks = [asyncio.create_task(pump(number, end)) for number, end in ends.items()]
        open_ = len(tasks)
        try:
            while open_:
                number, data = await queue.get()
                if data:
                    yield number, data
                else:
                    open_ -= 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    async def close(self) -> None:
        self._waiter.cancel()
        await asyncio.gather(self._waiter, return_exceptions=True)
        for end in {self._stdin, *self._outputs.values()}:
            if end is not None:
                end.close()
        self._channel.close()

    async def _wait(self) -> None:
        while (found := await self._channel.next()) is not None:
            told = found.message
            if "exit" in told:
                self._exit.set_result(int(told["exit"]))
                return
        self._exit.set_result(137)  # the node lost power under it


class AttachSession:
    """A container's own streams."""

    def __init__(self, channel: SessionChannel) -> None:
        self._channel = channel
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), CHUNK):
            await self._channel.send(frame(STDIN, data[at : at + CHUNK]))

    async def end_input(self) -> None:
        with suppress(OSError):
            await self._channel.send(frame(STDIN_END))

    async def resize(self, columns: int, rows: int) -> None:
        with suppress(OSError):
            await self._channel.send(message({"resize": [columns, rows]}))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while (found := await self._channel.next()) is not None:
            if found.type == STDOUT:
                yield _OUT, found.payload
            elif found.type == STDERR:
                yield _ERR, found.payload
            elif found.type == MESSAGE and "exit" in found.message:
                break
        if not self._exit.done():
            self._exit.set_result(0)  # however the container ended: who attaches is told of that by the pod's status

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    async def close(self) -> None:
        self._channel.close()


class TcpStream:
    """A connection into a pod's network."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, fd: int) -> "TcpStream":
        """`fd` becomes the stream's own."""
        made = socket.socket(fileno=fd)
        made.setblocking(False)
        return cls(*await asyncio.open_connection(sock=made))

    async def read(self) -> bytes:
        try:
            return await self._reader.read(CHUNK)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def end(self) -> None:
        with suppress(OSError):
            self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
