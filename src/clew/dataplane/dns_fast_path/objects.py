"""What this backend puts into a node's kernel: entries of the maps of bpf/dns.bpf.c, laid out as it declares them."""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from clew.base.value import Value

IMAGE = "dns"
PROGRAM = "dns"
PRIORITY: Final = 40  # of our filters: before any that translates addresses, for it is the asked one that answers
DIRECTION: Final = "ingress"

KEY, APEX, APEX_LABELS, LABELS, SOA, DEPTH = 128, 64, 6, 32, 128, 3  # as there
HEADER = 12
FIRST = bytes(4)  # the key of an array's only entry

_NAME = Struct("=B3x4s16s")
_ZONE = Struct(f"=BB6xI4x{APEX}s{APEX}s{2 * APEX}s")
_SOA = Struct(f"=BB3sB2x{SOA}s")
_LIVE = Struct("=Q4s4x")
_SERVER = Struct("=16sH2x")


class What(IntFlag):
    """What stands at a name."""

    A = 1
    AAAA = 2
    ASK = 4
    ASK_BELOW = 8


class Outcome(IntEnum):
    """What became of a question; also the place of its count."""

    ADDRESS = 0
    NODATA = 1
    NXDOMAIN = 2
    UNSURE = 3
    UNUSUAL = 4
    TYPE = 5
    ZONE = 6
    SERVER = 7
    LONG = 8
    FAILED = 9

    @property
    def answered(self) -> bool:
        return self <= Outcome.NXDOMAIN


WORDS = {
    Outcome.ADDRESS: "address", Outcome.NODATA: "nodata", Outcome.NXDOMAIN: "nxdomain", Outcome.UNSURE: "unsure",
    Outcome.UNUSUAL: "unusual", Outcome.TYPE: "type", Outcome.ZONE: "zone", Outcome.SERVER: "server",
    Outcome.LONG: "long", Outcome.FAILED: "failed",
}  # fmt: skip


class NameEntry(Value):
    """`key` is the name below the zone in wire form, lower case and without its end."""

    key: bytes
    what: What
    a: bytes
    aaaa: bytes
    origin: str

    def packed(self) -> tuple[bytes, bytes]:
        return self.key.ljust(KEY, b"\0"), _NAME.pack(self.what, self.a.ljust(4, b"\0"), self.aaaa.ljust(16, b"\0"))


class SoaRecord(Value):
    """A negative answer's SOA as it is written behind a question; `at`: where its three pointers to the zone stand."""

    record: bytes
    suffix: int  # bytes of the question's name that the owner points at; 0: it points at none
    at: tuple[int, int, int]
    serial: int  # where the serial number stands

    def packed(self) -> bytes:
        return _SOA.pack(len(self.record), self.suffix, bytes(self.at), self.serial, self.record.ljust(SOA, b"\0"))


class ZoneEntry(Value):
    apex: bytes  # wire form, lower case
    ttl: int
    soa: tuple[SoaRecord, ...]  # by how many labels at the question's end are the zone's, capital for capital
    origin: str

    @property
    def labels(self) -> int:
        return len(self.soa) - 1

    def agreeing(self, end: bytes) -> int:
        """How many labels at `end`, as many bytes as the apex, are its own."""
        others = (at + 1 for at, (one, own) in enumerate(zip(end, self.apex, strict=True)) if one != own)
        return self.equal()[max(others, default=0)]

    def equal(self) -> bytes:
        """The labels that agree, by the place of the last byte that does not, plus one; 0: all bytes do."""
        starts, at = [], 0
        while self.apex[at]:
            starts.append(at)
            at += 1 + self.apex[at]
        return bytes(sum(start >= last for start in starts) for last in range(len(self.apex) + 1))

    def packed(self) -> bytes:
        size = len(self.apex)
        head = _ZONE.pack(
            size, self.labels, int.from_bytes(self.ttl.to_bytes(4), "little"), self.apex, b"\xff" * size, self.equal()
        )
        none = bytes(_SOA.size)
        return head + b"".join(each.packed() for each in self.soa) + none * (APEX_LABELS - self.labels)


class ServerEntry(Value):
    address: bytes  # 16 bytes, IPv4 as ::ffff:a.b.c.d
    port: int
    origin: str

    def packed(self) -> tuple[bytes, bytes]:
        return _SERVER.pack(self.address, int.from_bytes(self.port.to_bytes(2), "little")), b"\1\0\0\0"


def live(until: int, serial: int) -> bytes:
    """`until`: nanoseconds of CLOCK_MONOTONIC; 0: nothing is answered."""
    return _LIVE.pack(until, serial.to_bytes(4))
