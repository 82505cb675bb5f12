"""SPDY/3.1 framing, as far as kubectl port-forward needs it inside its WebSocket (KEP-4006).

Streams are opened by the client (SYN_STREAM), accepted (SYN_REPLY) and carry data both ways until FIN or RST.
"""

import struct
import zlib
from typing import Literal

from clew.base.value import Value
from clew.cluster.apiserver.subresources.spdy_dictionary import DICTIONARY

FIN = 1
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_CONTROL = 0x8003_0000


class Frame(Value):
    kind: Literal["syn", "data", "ping", "rst", "goaway", "other"]
    stream: int = 0
    fin: bool = False
    data: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Framer:
    """Bytes to frames and back; one a connection, since header compression has memory."""

    def __init__(self) -> None:
        self._rest = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    def feed(self, data: bytes) -> list[Frame]:
        """The complete frames so far; ValueError for what is not SPDY."""
        self._rest += data
        frames: list[Frame] = []
        while len(self._rest) >= 8:
            word, tail = struct.unpack_from(">II", self._rest)
            flags, length = tail >> 24, tail & 0xFFFFFF
            if len(self._rest) < 8 + length:
                break
            body, self._rest = self._rest[8 : 8 + length], self._rest[8 + length :]
            frames.append(
                self._control(word & 0xFFFF, flags, body)
                if word >> 31
                else Frame("data", word, bool(flags & FIN), body)
            )
        return frames

    def _control(self, kind: int, flags: int, body: bytes) -> Frame:
        if kind == _SYN_STREAM:
            (stream,) = struct.unpack_from(">I", body)
            return Frame("syn", stream & 0x7FFFFFFF, bool(flags & FIN), b"", self._headers(body[10:]))
        if kind == _PING:
            return Frame("ping", data=body)
        if kind == _RST_STREAM:
            return Frame("rst", struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)
        return Frame("goaway" if kind == _GOAWAY else "other")

    def _headers(self, packed: bytes) -> tuple[tuple[str, str], ...]:
        raw = self._inflate.decompress(packed)
        (count,) = struct.unpack_from(">I", raw)
        at, texts = 4, []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", raw, at)
            texts.append(raw[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return tuple(zip(texts[::2], texts[1::2], strict=True))

    def reply(self, stream: int) -> bytes:
        """SYN_REPLY without headers."""
        packed = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return struct.pack(">III", _CONTROL | _SYN_REPLY, 4 + len(packed), stream) + packed


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN << 24 if fin else 0) | len(payload)) + payload


def ping(body: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | _PING, len(body)) + body


def reset(stream: int) -> bytes:
    return struct.pack(">IIII", _CONTROL | _RST_STREAM, 8, stream, 5)
