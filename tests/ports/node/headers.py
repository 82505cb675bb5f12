"""A captured frame told header by header, as docs/design/pod-network.md shows it. What differs each time is dotted out.

Used by the tests that hold the page to what is seen on the wire; `CLEW_ACCEPT=1` writes what was seen into the page.
"""

import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/design/pod-network.md"
VXLAN_PORT, WIREGUARD_PORT = 8472, 51820
NAMES = {17: "UDP", 4: "IPv4", 50: "ESP", 6: "TCP", 41: "IPv6"}
DATA = b"clew"
LONG = 16  # bytes that may stand as dots


def told(frame: bytes) -> str:
    """A line a header: its name, its bytes, what they say."""
    return "\n".join(
        f"{name:<10}{_hex(data, hidden)}\n{'':<10}{words}" for name, data, hidden, words in _ethernet(frame)
    )


Header = tuple[str, bytes, set[int], str]  # name, bytes, places of those that differ each time, words


def _hex(data: bytes, hidden: set[int]) -> str:
    if len(data) > LONG and hidden.issuperset(range(len(data))):
        return "·· … ··"
    return " ".join("··" if place in hidden else f"{byte:02x}" for place, byte in enumerate(data))


def _span(*pairs: tuple[int, int]) -> set[int]:
    return {place for start, end in pairs for place in range(start, end)}


def _ethernet(frame: bytes) -> Iterator[Header]:
    kind = "IPv4" if frame[12:14] == b"\x08\x00" else "IPv6"
    yield "Ethernet", frame[:14], set(), f"{frame[6:12].hex(':')} > {frame[:6].hex(':')}, {kind}"
    yield from _ip(frame[14:])


def _ip(packet: bytes) -> Iterator[Header]:
    if packet[0] >> 4 == 4:
        source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
        size, protocol = struct.unpack_from("!H", packet, 2)[0], packet[9]
        flag = ", DF" if packet[6] & 0x40 else ""
        words = f"{source} > {target}, {NAMES[protocol]}, {size} bytes{flag}, TTL {packet[8]}"
        yield "IPv4", packet[:20], _span((4, 6), (10, 12)), words
        yield from _payload(protocol, packet[20:size])
        return
    source, target = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
    size, protocol = struct.unpack_from("!H", packet, 4)[0], packet[6]
    words = f"{source} > {target}, {NAMES[protocol]}, 40 + {size} bytes, hop limit {packet[7]}"
    yield "IPv6", packet[:40], _span((1, 4)), words
    yield from _payload(protocol, packet[40 : 40 + size])


def _payload(protocol: int, data: bytes) -> Iterator[Header]:
    if NAMES[protocol] == "UDP":
        yield from _udp(data)
    elif NAMES[protocol] == "ESP":
        yield "ESP", data[:8], _span((0, 8)), "SPI, sequence number"
        yield "", data[8:16], _span((0, 8)), "IV"
        yield "", data[16:-16], _span((0, len(data))), f"{len(data) - 32} bytes encrypted"
        yield "", data[-16:], _span((0, 16)), "ICV"
    else:
        yield from _ip(data)


def _udp(data: bytes) -> Iterator[Header]:
    source, target = struct.unpack_from("!HH", data)
    tunnel = target in {VXLAN_PORT, WIREGUARD_PORT}
    hidden = _span((6, 8)) | (_span((0, 2)) if target == VXLAN_PORT else set())
    yield "UDP", data[:8], hidden, f"{'a hash of the flow' if target == VXLAN_PORT else source} > {target}"
    if not tunnel:
        yield "data", data[8:], set(), repr(data[8:].decode())
    elif target == VXLAN_PORT:
        yield "VXLAN", data[8:16], set(), f"VNI {int.from_bytes(data[12:15], 'big')}"
        yield from _ethernet(data[16:])
    else:
        yield "WireGuard", data[8:24], _span((4, 16)), "type 4: data; receiver's index, counter"
        yield "", data[24:-16], _span((0, len(data))), f"{len(data) - 40} bytes encrypted"
        yield "", data[-16:], _span((0, 16)), "tag"


def shown(name: str) -> str:
    """The page's block of this name."""
    found = _block(name).search(PAGE.read_text())
    return found[2] if found else ""


def accept(name: str, text: str) -> None:
    """Write it into the page, where there is a block of this name."""
    if os.environ.get("CLEW_ACCEPT"):
        PAGE.write_text(_block(name).sub(lambda found: f"{found[1]}{text}{found[3]}", PAGE.read_text()))


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- capture: {re.escape(name)} -->\n```\n)(.*?)(\n```)", re.DOTALL)
