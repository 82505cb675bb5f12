"""The protobuf wire format, as far as Kubernetes uses it (protobuf.dev/programming-guides/encoding)."""

from collections.abc import Iterator

Raw = int | bytes  # a varint, or the bytes of anything else


def fields(data: bytes) -> Iterator[tuple[int, Raw]]:
    """The field numbers and raw values of one message, in order. ValueError where the data is cut off or is none."""
    at, end = 0, len(data)
    while at < end:
        tag, at = varint(data, at)
        value: Raw
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, at = data[at : at + length], at + length
        else:
            raise ValueError(f"illegal wireType {kind} at byte {at}")
        if at > end:
            raise ValueError("unexpected EOF")
        yield tag >> 3, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and where it ends."""
    value = shift = 0
    while shift < 64:
        if at >= len(data):
            raise ValueError("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise ValueError("integer overflow")


def as_bytes(value: Raw) -> bytes:
    if isinstance(value, int):
        raise ValueError("wrong wireType: a number where bytes belong")  # noqa: TRY004 - the data is wrong, not a type
    return value


def as_text(value: Raw) -> str:
    return as_bytes(value).decode()


def as_int(value: Raw) -> int:
    """A signed number, as int32 and int64 are written (two's complement in 64 bits)."""
    if not isinstance(value, int):
        raise ValueError("wrong wireType: bytes where a number belongs")  # noqa: TRY004 - likewise
    return value - (1 << 64) if value >> 63 else value
