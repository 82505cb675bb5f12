"""A kubelet's side of CRI in a few lines: protobuf by hand, one call a connection, over HTTP/2 as gRPC wants it.

Field numbers are those of k8s.io/cri-api runtime/v1 api.proto. What a server says of a failed call stands in header
blocks that nobody here reads: its log says it too.
"""

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = END_STREAM = 1
END_HEADERS = 4

Message = Mapping[int, "str | int | bytes | list[bytes]"]


class RefusedError(Exception):
    """The runtime did not do it."""


def encode(message: Message) -> bytes:
    found = b""
    for field, value in message.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int):
                found += _varint(field << 3) + _varint(each)
            else:
                data = each.encode() if isinstance(each, str) else each
                found += _varint(field << 3 | 2) + _varint(len(data)) + data
    return found


def decode(data: bytes) -> dict[int, list[bytes | int]]:
    """By field: texts and messages as bytes, numbers as they are."""
    found: dict[int, list[bytes | int]] = {}
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        value, at = _number(data, at)
        if tag & 7 == 2:
            found.setdefault(tag >> 3, []).append(data[at : at + value])
            at += value
        else:
            found.setdefault(tag >> 3, []).append(value)
    return found


def text(message: Mapping[int, list[bytes | int]], field: int) -> str:
    value = message.get(field, [b""])[0]
    assert isinstance(value, bytes)
    return value.decode()


def inner(message: Mapping[int, list[bytes | int]], field: int) -> dict[int, list[bytes | int]]:
    value = message.get(field, [b""])[0]
    assert isinstance(value, bytes)
    return decode(value)


def call(path: Path, method: str, message: Message, seconds: float = 60) -> dict[int, list[bytes | int]]:
    """The answer of runtime.v1.RuntimeService/`method`; RefusedError, OSError."""
    asked = encode(message)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(seconds)
        peer.connect(str(path))
        peer.sendall(
            PREFACE + _frame(SETTINGS, 0, 0, b"")
            + _frame(HEADERS, END_HEADERS, 1, _headers(f"/runtime.v1.RuntimeService/{method}"))
            + _frame(DATA, END_STREAM, 1, struct.pack(">BI", 0, len(asked)) + asked)
        )  # fmt: skip
        return decode(_answer(peer, method))


def _answer(peer: socket.socket, method: str) -> bytes:
    got = b""
    while True:
        head = _exactly(peer, 9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = _exactly(peer, length)
        if kind in {SETTINGS, PING} and not flags & ACK:
            peer.sendall(_frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in {RST_STREAM, GOAWAY}:
            raise RefusedError(f"{method}: the call was broken off")
        elif kind == DATA:
            got += payload
        if kind == HEADERS and flags & END_STREAM:
            if len(got) < 5:
                raise RefusedError(f"{method}: see the runtime's log")
            return got[5:]


def _exactly(peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = peer.recv(length - len(data))
        if not part:
            raise RefusedError("the runtime hung up")
        data += part
    return data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(path: str) -> bytes:
    """HPACK: POST and http from the static table, literals without indexing for the rest."""
    named = b"".join([b"\x04" + _text(path), b"\x01" + _text("localhost"), b"\x0f\x10" + _text("application/grpc")])
    return b"\x83\x86" + named + b"\x00" + _text("te") + _text("trailers")


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _number(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = data[at]
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return found, at
