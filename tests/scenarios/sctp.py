"""The first two packets of an SCTP association by raw sockets: enough for a service, and for a kernel without SCTP.

A client sends INIT and waits for INIT ACK; a server answers with one that carries its text. Checksums are right, since
connection tracking looks at them. Source: RFC 9260, sections 3 and 6.8.
"""

import asyncio
import itertools
import random
import socket
import struct

IPPROTO_SCTP = 132
INIT, INIT_ACK = 1, 2
CASTAGNOLI = 0x82F63B78
TEXT = 0xC0DE  # an optional parameter's type that every stack passes over


def _row(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (CASTAGNOLI if number & 1 else 0)
    return number


TABLE = [_row(number) for number in range(256)]


def checksum(data: bytes) -> int:
    """CRC32c."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def packet(ports: tuple[int, int], tag: int, kind: int, text: bytes = b"") -> bytes:
    """From port and to port; the receiver's tag; INIT or INIT ACK."""
    parameter = struct.pack("!HH", TEXT, 4 + len(text)) + text if text else b""
    parameter += bytes(-len(parameter) % 4)
    chunk = struct.pack("!BBHIIHHI", kind, 0, 20 + len(parameter), 0x1234, 65536, 1, 1, 1) + parameter
    head = struct.pack("!HHI", *ports, tag)
    return head + struct.pack("<I", checksum(head + bytes(4) + chunk)) + chunk


def read(family: int, data: bytes) -> tuple[int, int, int, bytes]:
    """Source port, destination port, kind of the first chunk, and the text in it."""
    start = (data[0] & 15) * 4 if family == 4 else 0
    source, destination = struct.unpack_from("!HH", data, start)
    kind, _, length = struct.unpack_from("!BBH", data, start + 12)
    parameter = data[start + 32 : start + 12 + length]
    if len(parameter) < 4:
        return source, destination, kind, b""
    (size,) = struct.unpack_from("!H", parameter, 2)
    return source, destination, kind, parameter[4:size]


PORTS = itertools.count(random.randrange(20000, 40000))


async def ask(client: socket.socket, target: tuple[str, int]) -> str:
    """What the server's INIT ACK says; ConnectionRefusedError where ICMP says that nobody is there."""
    loop = asyncio.get_running_loop()
    address, port = target
    family = 6 if ":" in address else 4
    own = next(PORTS)
    client.connect((address, 0))
    await loop.sock_sendall(client, packet((own, port), 0, INIT))
    while True:
        source, destination, kind, text = read(family, await loop.sock_recv(client, 2048))
        if (source, destination, kind) == (port, own, INIT_ACK):
            return text.decode()


class Server:
    """Answers at one address and port until closed."""

    def __init__(self, listener: socket.socket, family: int, port: int, here: str) -> None:
        self._listener, self._family, self._port, self._here = listener, family, port, here
        asyncio.get_running_loop().add_reader(listener, self._answer)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()

    def _answer(self) -> None:
        data, peer = self._listener.recvfrom(2048)
        source, destination, kind, _ = read(self._family, data)
        if (destination, kind) == (self._port, INIT):
            text = f"{self._here} {peer[0]}".encode()
            self._listener.sendto(packet((self._port, source), 0x1234, INIT_ACK, text), (peer[0], 0))
