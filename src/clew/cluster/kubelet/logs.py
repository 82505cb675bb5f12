"""Reading containers' logs for `kubectl logs`: the CRI format back to what was written, from rotated files onwards.

Follows a log over its rotation and a container over its end; `tail`, `since` and `limit` as the API has them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from clew.api.conditions import parse_time
from clew.base.clock import Clock
from clew.cluster.runtime.supervisor.logs import rotated
from clew.cluster.streams import LogRequest

_LOOK = 0.2  # seconds between looks at a log that is followed
_CHUNK = 64 << 10  # bytes of text at once, so that a long log holds up nobody else
_MOST = 256 << 10  # bytes of a followed log at once; a line of it is shorter


class LogReader:
    """One request. `alive()` tells whether the container may still write."""

    def __init__(self, path: Path, request: LogRequest, clock: Clock, alive: Callable[[], bool]) -> None:
        self._path = path
        self._request = request
        self._clock = clock
        self._alive = alive
        self._since = _since(request, clock.now())
        self._left = request.limit_bytes

    async def read(self) -> AsyncIterator[bytes]:
        """The text, in pieces."""
        file, history = await asyncio.to_thread(self._open)
        try:
            for piece in self._cut(self._render(history)):
                yield piece
                await asyncio.sleep(0)
            if self._done:
                return
            async for piece in self._follow(file):
                yield piece
        finally:
            if file is not None:
                file.close()

    @property
    def _done(self) -> bool:
        return self._left is not None and self._left <= 0

    def _open(self) -> tuple[BinaryIO | None, list[bytes]]:
        """The current file, read to its last whole line, and the lines that the request begins with."""
        lines: list[bytes] = []
        tail = self._request.tail_lines
        if tail == 0:
            file = _open(self._path)
            if file is not None:
                file.seek(0, os.SEEK_END)
            return file, []
        file = _open(self._path)
        if file is not None:
            lines = _whole_lines(file)
        for old in reversed(rotated(self._path)):
            if tail is not None and len(lines) > tail * 2:
                break
            with old.open("rb") as before:
                lines = _whole_lines(before) + lines
        lines = [line for line in lines if self._is_wanted(line)]
        return file, lines if tail is None else _last(lines, tail)

    async def _follow(self, file: BinaryIO | None) -> AsyncIterator[bytes]:
        if not self._request.follow:
            return
        while True:
            alive = self._alive()
            if file is None:
                file = _open(self._path)
            lines = _whole_lines(file, _MOST) if file is not None else []
            for piece in self._cut(self._render([line for line in lines if self._is_wanted(line)])):
                yield piece
                await asyncio.sleep(0)
            if self._done:
                return
            if file is not None and not lines and _was_rotated(file, self._path):
                after = _next(file, self._path)
                file.close()
                file = after
                continue
            if not alive and not lines:
                return
            if not lines:
                await self._clock.sleep(_LOOK)

    def _is_wanted(self, line: bytes) -> bool:
        if self._since is None:
            return True
        try:
            moment = parse_time(line[:26].decode("ascii").rstrip("Z") + "Z")
        except ValueError:
            return False
        return moment is not None and moment >= self._since

    def _render(self, lines: list[bytes]) -> Iterator[bytes]:
        """Chunks of text of about the same size."""
        out = bytearray()
        for line in lines:
            parts = line.split(b" ", 3)
            if len(parts) < 4:
                continue
            stamp, _, tag, text = parts
            if self._request.timestamps:
                out += stamp + b" "
            out += text
            if tag == b"F":
                out += b"\n"
            if len(out) >= _CHUNK:
                yield bytes(out)
                out.clear()
        if out:
            yield bytes(out)

    def _cut(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._left is None:
                yield piece
                continue
            if self._left <= 0:
                return
            yield piece[: self._left]
            self._left -= len(piece)


def _since(request: LogRequest, now: datetime) -> datetime | None:
    if request.since_time:
        return parse_time(request.since_time)
    if request.since_seconds is not None:
        return now - timedelta(seconds=request.since_seconds)
    return None


def _open(path: Path) -> BinaryIO | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    return os.fdopen(fd, "rb")


def _whole_lines(file: BinaryIO, most: int = -1) -> list[bytes]:
    """What is there from here on, up to the last newline of `most` bytes; the file stands behind it afterwards."""
    start = file.tell()
    data = file.read(most)
    end = data.rfind(b"\n") + 1
    file.seek(start + end)
    return data[:end].split(b"\n")[:-1] if end else []


def _was_rotated(file: BinaryIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return False


def _next(file: BinaryIO, path: Path) -> BinaryIO | None:
    """What was written after this file, which may have been rotated away more than once since."""
    mine, files = os.fstat(file.fileno()).st_ino, [*rotated(path), path]
    for at, each in enumerate(files[:-1]):
        with suppress(FileNotFoundError):
            if each.stat().st_ino == mine:
                return _open(files[at + 1])
    return _open(files[0])


def _last(lines: list[bytes], count: int) -> list[bytes]:
    """The last `count` lines as a user counts them: parts of one line are one."""
    seen = 0
    for position in range(len(lines) - 1, -1, -1):
        if lines[position].split(b" ", 3)[2:3] == [b"F"]:
            seen += 1
            if seen > count:
                return lines[position + 1 :]
    return lines
