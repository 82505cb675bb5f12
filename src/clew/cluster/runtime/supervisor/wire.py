"""Messages on the supervisor's socket: a type byte, a length, a payload; descriptors ride on the frame they belong to.

Used by both ends. A connection is either a control connection (requests and answers matched by `id`, events to those
who subscribed) or, after one request, a session with streams. The peer is trusted (the socket is root's alone), but a
frame that is too long is refused rather than collected.
"""

import json
import struct
from typing import Any, NamedTuple

MESSAGE = b"J"  # JSON
STDIN, STDIN_END = b"0", b"Z"
STDOUT, STDERR = b"1", b"2"

HEADER = struct.Struct(">cI")
PROTOCOL = 3  # raised whenever the two ends, or agents and their node, would misunderstand each other
LARGEST = 64 << 20  # bytes in a frame; the largest is a list of everything on a node
CHUNK = 64 << 10  # bytes of a stream in one frame


class Frame(NamedTuple):
    type: bytes
    payload: bytes

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


def message(content: dict[str, Any]) -> bytes:
    return frame(MESSAGE, json.dumps(content, separators=(",", ":")).encode())


class Frames:
    """Bytes as they arrive, frames as they are whole."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. ValueError: the peer does not speak this."""
        self._held += data
        found = []
        while len(self._held) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._held)
            if size > LARGEST:
                raise ValueError(f"a frame of {size} bytes")
            end = HEADER.size + size
            if len(self._held) < end:
                break
            found.append(Frame(kind, bytes(self._held[HEADER.size : end])))
            del self._held[:end]
        return found


def words(problem: Exception) -> str:
    """What went wrong, as it is told to the other end: the file, if one is named, and the reason."""
    if isinstance(problem, KeyError):
        return f"missing in the request: {problem}"
    reason = getattr(problem, "strerror", None) or str(problem)
    name = getattr(problem, "filename", None)
    return f"{name}: {reason}" if name else reason
