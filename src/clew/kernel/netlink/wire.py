"""The bytes that every rtnetlink message is made of: header, attributes, addresses. RFC 3549, linux/netlink.h.

Everything is in the machine's own byte order but addresses and ports. Pure; called by the codecs beside it.
"""

import socket
from collections.abc import Iterator
from ipaddress import IPv6Address
from struct import Struct

NLM_F_REQUEST = 1
NLM_F_ACK = 4
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_DUMP_INTR = 0x10  # in an answer: the table changed while it was read
NLM_F_CAPPED = 0x100  # in an error: the request is not repeated in it
NLM_F_ACK_TLVS = 0x200  # in an error: attributes follow

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1

NLA_TYPE_MASK = 0x3FFF
NLA_F_NESTED = 0x8000

HEADER = Struct("=IHHII")  # length, type, flags, sequence, port
ATTRIBUTE = Struct("=HH")  # length, type
U8 = Struct("=B")
U16 = Struct("=H")
U32 = Struct("=I")
S32 = Struct("=i")
BE16 = Struct("!H")

Attributes = dict[int, memoryview]


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(data)
    return ATTRIBUTE.pack(length, kind) + data + b"\0" * (-length & 3)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind, b"".join(parts))


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, U8.pack(value))


def be16(kind: int, value: int) -> bytes:
    """A port: network byte order."""
    return attribute(kind, BE16.pack(value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, U32.pack(value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def ip(kind: int, value: str) -> bytes:
    return attribute(kind, pack_ip(value))


def mac(kind: int, value: str) -> bytes:
    return attribute(kind, bytes.fromhex(value.replace(":", "")))


def walk(data: memoryview, offset: int = 0) -> Iterator[tuple[int, memoryview]]:
    """Every attribute of `data` from `offset` on, in order, as (type, payload)."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: memoryview, offset: int = 0) -> Attributes:
    """The attributes by type; of a repeated one the last."""
    return dict(walk(data, offset))


def get_u32(found: Attributes, kind: int, default: int = 0) -> int:
    data = found.get(kind)
    return default if data is None else int(U32.unpack_from(data)[0])


def get_u8(found: Attributes, kind: int, default: int = 0) -> int:
    data = found.get(kind)
    return default if data is None else data[0]


def get_text(found: Attributes, kind: int) -> str:
    data = found.get(kind)
    return "" if data is None else bytes(data).rstrip(b"\0").decode(errors="replace")


def get_ip(found: Attributes, kind: int) -> str:
    data = found.get(kind)
    return "" if data is None else unpack_ip(data)


def get_mac(found: Attributes, kind: int) -> str:
    data = found.get(kind)
    return "" if data is None else bytes(data).hex(":")


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def pack_ip(address: str) -> bytes:
    """4 or 16 bytes; ValueError names what is no address."""
    try:
        return socket.inet_pton(family_of(address), address)
    except OSError as problem:
        raise ValueError(f"{address!r} is no IP address") from problem


def unpack_ip(data: memoryview | bytes) -> str:
    """The canonical text, as ipaddress writes it; inet_ntop is ten times quicker and differs where IPv4 is embedded."""
    if len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    canonical = socket.inet_ntop(socket.AF_INET6, data)
    return str(IPv6Address(bytes(data))) if "." in canonical else canonical


def split_prefix(prefix: str) -> tuple[str, int]:
    """`10.0.0.0/24` -> ("10.0.0.0", 24); a bare address is a prefix of its full length."""
    address, slash, bits = prefix.partition("/")
    if not slash:
        return address, 128 if ":" in address else 32
    return address, int(bits)


def any_prefix(family: int) -> str:
    """The default route's destination in a family."""
    return "::/0" if family == socket.AF_INET6 else "0.0.0.0/0"
