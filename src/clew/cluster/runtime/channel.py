"""The daemon's end of a supervisor's socket: requests and answers on one connection, one more for each session.

Answers carry the request's number and come in any order; events come in between. Nothing is retried here: a channel
whose supervisor is gone fails every request with NodeLostError.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clew.cluster.runtime.errors import NodeError, NodeLostError
from clew.cluster.runtime.location import connect
from clew.cluster.runtime.supervisor.wire import Frame, Frames, message

_QUEUED = 64  # frames of a session that wait for their reader before the socket is left alone

Answer = dict[str, Any]


class Channel:
    """Requests and events of one node."""

    def __init__(self, path: Path, on_event: Callable[[Answer], None]) -> None:
        self._path = path
        self._on_event = on_event
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self.pidfd = -1
        self.pid = 0
        self.lost = asyncio.Event()

    async def open(self) -> None:
        """Connect; NodeLostError where no supervisor listens."""
        made, self.pid = connect(self._path)
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError as problem:
            made.close()
            raise NodeLostError(f"the supervisor at {self._path} is gone") from problem
        self._reader, self._writer = await asyncio.open_unix_connection(sock=made)
        self._task = asyncio.create_task(self._read(self._reader), name=f"supervisor {self._path.parent.name}")

    async def request(self, op: str, arguments: Mapping[str, Any]) -> Answer:
        """Ask, and wait for the answer. NodeError is the supervisor's refusal."""
        if self._writer is None or self.lost.is_set():
            raise NodeLostError("the node's supervisor is gone")
        self._number += 1
        number = self._number
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        try:
            self._writer.write(message({"op": op, "id": number, **arguments}))
            await self._writer.drain()
            return _checked(await answered)
        except ConnectionError as problem:
            raise NodeLostError("the node's supervisor is gone") from problem
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Disconnect; the node goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def kill(self) -> None:
        """Pull the plug."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        try:
            while data := await reader.read(256 << 10):
                for found in frames.feed(data):
                    self._take(found.message)
        except (OSError, ValueError):
            pass
        finally:
            self.lost.set()
            for answered in self._waiting.values():
                if not answered.done():
                    answered.set_exception(NodeLostError("the node's supervisor is gone"))

    def _take(self, answer: Answer) -> None:
        if "event" in answer:
            self._on_event(answer)
            return
        answered = self._waiting.get(answer.pop("id", 0))
        if answered is not None and not answered.done():
            answered.set_result(answer)


class SessionChannel:
    """One session's connection: frames as they come, and the descriptors that the first one brings."""

    def __init__(self, path: Path) -> None:
        self._socket, _ = connect(path)
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._reading = False
        self.fds: list[int] = []

    async def begin(self, op: str, arguments: Mapping[str, Any]) -> Answer:
        """Ask for the session; its first message. NodeError is the refusal, after which all is closed."""
        try:
            await self.send(message({"op": op, "id": 0, **arguments}))
            self._read(on=True)
            return _checked(_present(await self.next()).message)
        except BaseException:
            self.close()
            raise

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def next(self) -> Frame | None:
        """The next frame, None at the end."""
        found = await self._queue.get()
        if not self._reading and self._queue.qsize() < _QUEUED // 2:
            self._read(on=True)
        return found

    def close(self) -> None:
        self._read(on=False)
        self._socket.close()
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = []

    def _read(self, *, on: bool) -> None:
        if self._socket.fileno() < 0 or on == self._reading:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._socket.fileno(), self._ready)
        else:
            self._loop.remove_reader(self._socket.fileno())

    def _ready(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 256 << 10, 8)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self.fds += fds
        if not data:
            self._read(on=False)
            self._queue.put_nowait(None)
            return
        for found in self._frames.feed(data):
            self._queue.put_nowait(found)
        if self._queue.qsize() >= _QUEUED:
            self._read(on=False)


def _present(found: Frame | None) -> Frame:
    if found is None:
        raise NodeLostError("the node's supervisor is gone")
    return found


def _checked(answer: Answer) -> Answer:
    if "error" in answer:
        raise NodeError(answer["error"], answer.get("errno", 0))
    return answer
