"""How an HTTP/1.1 body ends: by its length, by its last chunk, or with the connection. Pure: bytes in, bytes out.

RFC 9112 sections 6 and 7. Called by http1.py. MalformedError for what is no such body.
"""

from collections.abc import Mapping
from typing import Protocol

_LONGEST_LINE = 4096  # of a chunk's size with its extensions, or of a trailer


class MalformedError(ConnectionError):
    """The other side speaks no HTTP/1.1; the connection is of no more use."""


class Body(Protocol):
    """`done` once the whole body went through `feed`."""

    done: bool
    kept: bool  # whether the connection can carry another response afterwards

    def feed(self, data: bytes) -> bytes: ...


class Sized:
    kept = True

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def feed(self, data: bytes) -> bytes:
        if len(data) > self._left:
            raise MalformedError("a body longer than it was announced")
        self._left -= len(data)
        self.done = not self._left
        return data


class UntilClosed:
    kept = False
    done = False

    def feed(self, data: bytes) -> bytes:
        return data


class Chunked:
    kept = True

    def __init__(self) -> None:
        self.done = False
        self._rest = b""  # of a line whose end has not come
        self._left = 0  # bytes of the chunk that are still to come
        self._end = False  # whether the line break after a chunk is to come
        self._trailers = False

    def feed(self, data: bytes) -> bytes:
        data, self._rest = self._rest + data, b""
        found: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if data.startswith(b"\r\n", at):
                    at += 2
                else:
                    self._end = not self._left
                continue
            end = data.find(b"\r\n", at)
            if end < 0 or end - at > _LONGEST_LINE:
                if len(data) - at > _LONGEST_LINE:
                    raise MalformedError("a chunk's size without end")
                self._rest = data[at:]
                break
            self._line(data[at:end])
            at = end + 2
        if self.done and at < len(data):
            raise MalformedError("bytes after the last chunk")
        return b"".join(found) if len(found) != 1 else found[0]

    def _line(self, line: bytes) -> None:
        if self._end:
            if line:
                raise MalformedError("a chunk longer than it was announced")
            self._end = False
        elif self._trailers:
            self.done = not line
        else:
            self._left = _number(line.partition(b";")[0], 16)
            self._trailers = not self._left


def _number(text: bytes, base: int) -> int:
    try:
        found = int(text, base)
    except ValueError:
        found = -1
    if found < 0:
        raise MalformedError(f"{text[:20]!r} is no length")
    return found


def body_of(status: int, headers: Mapping[str, str]) -> Body:
    """What follows the head of a response to GET, POST, PUT, PATCH or DELETE."""
    if status in {204, 304}:
        return Sized(0)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Chunked()
    if "content-length" in headers:
        return Sized(_number(headers["content-length"].encode(), 10))
    return UntilClosed()
