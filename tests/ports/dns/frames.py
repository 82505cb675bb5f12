"""Ethernet frames with a UDP datagram in them, made and taken apart; sums are computed as RFC 1071 says."""

import struct
from ipaddress import ip_address

from clew.base.value import Value

CLIENT, GATEWAY = bytes.fromhex("0a580af40105"), bytes.fromhex("0a580af40101")


class Datagram(Value):
    """`check`: the sum in the UDP header, None for the right one."""

    source: str
    target: str
    data: bytes
    source_port: int = 40_000
    target_port: int = 53
    check: int | None = None


def summed(data: bytes) -> int:
    """The ones' complement sum, folded and not inverted."""
    total = sum(struct.unpack(f">{len(data) // 2 + len(data) % 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(datagram: Datagram) -> bytes:
    addresses = ip_address(datagram.source).packed + ip_address(datagram.target).packed
    return addresses + struct.pack(">IHBB", 8 + len(datagram.data), 0, 0, 17)


def frame(datagram: Datagram, *, ether: bytes = GATEWAY + CLIENT) -> bytes:
    size = 8 + len(datagram.data)
    ports = struct.pack(">HHH", datagram.source_port, datagram.target_port, size)
    right = 0xFFFF ^ summed(pseudo(datagram) + ports + b"\0\0" + datagram.data) or 0xFFFF
    check = right if datagram.check is None else datagram.check
    udp = ports + check.to_bytes(2) + datagram.data
    source, target = ip_address(datagram.source), ip_address(datagram.target)
    if source.version == 6:
        head = struct.pack(">IHBB", 0x6 << 28 | 0x12345, size, 17, 63) + source.packed + target.packed
        return ether + b"\x86\xdd" + head + udp
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 7, 0, 63, 17, 0) + source.packed + target.packed
    head = head[:10] + (0xFFFF ^ summed(head)).to_bytes(2) + head[12:]
    return ether + b"\x08\x00" + head + udp


def opened(raw: bytes) -> Datagram:
    """The datagram of a frame; every length and the IP header's sum are checked on the way."""
    if raw[12:14] == b"\x86\xdd":
        size, kind = struct.unpack_from(">HB", raw, 18)
        assert (raw[14] >> 4, kind, len(raw)) == (6, 17, 54 + size)
        source, target, at = raw[22:38], raw[38:54], 54
    else:
        assert (raw[14], raw[23], summed(raw[14:34])) == (0x45, 17, 0xFFFF)
        size = struct.unpack_from(">H", raw, 16)[0] - 20
        assert len(raw) == 34 + size
        source, target, at = raw[26:30], raw[30:34], 34
    source_port, target_port, length, check = struct.unpack_from(">HHHH", raw, at)
    assert length == size
    return Datagram(
        str(ip_address(source)), str(ip_address(target)), raw[at + 8 :], source_port, target_port, check
    )  # fmt: skip
