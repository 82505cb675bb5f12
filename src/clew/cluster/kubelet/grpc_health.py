"""The question of a gRPC probe: is this service SERVING? One unary call of grpc.health.v1.Health/Check over HTTP/2.

Only as much of HTTP/2 (RFC 9113) as one request on a fresh connection needs. Header blocks are written as literals and
never read: the answer is in the DATA frame, and a server that sends none has refused.
"""

import asyncio
import struct

from clew.base.errors import WorldError

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = _END_STREAM = 1
_END_HEADERS, _PADDED = 4, 8
_LONGEST_FRAME = 16 << 10  # what we allow by saying nothing else in our SETTINGS
_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class HealthError(WorldError):
    """It is not healthy, or does not say; worded as kubelets do."""


async def check(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str, agent: str
) -> None:
    """Returns if the service is SERVING. HealthError; OSError and EOFError from a connection that ends."""
    asked = b"\x0a" + bytes([len(service.encode())]) + service.encode() if service else b""
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
    writer.write(_frame(_HEADERS, _END_HEADERS, 1, _headers(authority, agent)))
    writer.write(_frame(_DATA, _END_STREAM, 1, struct.pack(">BI", 0, len(asked)) + asked))
    status = _STATUS.get(_serving(await _answer(reader, writer)), "UNKNOWN")
    if status != "SERVING":
        raise HealthError(f'service unhealthy (responded with "{status}")')


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The message of the call's answer."""
    got = b""
    while True:
        size, kind, flags, stream = struct.unpack(">3sBBI", await reader.readexactly(9))
        length = int.from_bytes(size, "big")
        if length > _LONGEST_FRAME:
            raise HealthError("error: health rpc probe failed: what answers does not speak HTTP/2")
        payload = await reader.readexactly(length)
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in {_RST_STREAM, _GOAWAY}:
            raise HealthError("error: health rpc probe failed: the server ended the call")
        elif kind == _DATA and stream & 0x7FFFFFFF == 1:
            got += payload[1 : length - payload[0]] if flags & _PADDED else payload
            if len(got) >= 5 and len(got) >= 5 + int.from_bytes(got[1:5], "big"):
                return got[5 : 5 + int.from_bytes(got[1:5], "big")]
        if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
            raise HealthError("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)")


def _serving(message: bytes) -> int:
    """HealthCheckResponse.status, field 1; what is not sent is 0."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(authority: str, agent: str) -> bytes:
    """HPACK (RFC 7541): what the static table has whole, and literals without indexing for the rest."""
    return b"".join([
        b"\x83\x86",  # :method POST, :scheme http
        b"\x04" + _text("/grpc.health.v1.Health/Check"),  # :path
        b"\x01" + _text(authority),  # :authority
        b"\x0f\x10" + _text("application/grpc"),  # content-type
        b"\x0f\x2b" + _text(agent),  # user-agent
        b"\x00" + _text("te") + _text("trailers"),
    ])  # fmt: skip


def _text(value: str) -> bytes:
    """A string of at most 126 bytes, without Huffman's code."""
    data = value.encode()[:126]
    return bytes([len(data)]) + data
