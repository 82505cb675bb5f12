"""Answers kept with the places of their TTLs, so that giving one again means copying bytes and ageing a few numbers."""

import struct
from collections import OrderedDict

import msgspec

from clew.servers.dns import message, wire
from clew.servers.dns.wire import WireError

Key = tuple[bytes, int, bool, bool]  # name in lower case, type, DO, CD

_SOA_MINIMUM = struct.Struct(">I")


class Entry(msgspec.Struct, gc=False):
    raw: bytes  # without OPT: each asker gets one of its own
    offsets: list[int]  # of TTLs
    stored: float
    expires: float
    lifetime: float
    hits: int = 0
    first_hit: float = 0.0
    asked_again: bool = False


class Kept(msgspec.Struct):
    """How long answers of one sort are kept, and how many."""

    capacity: int = 9984
    most: int = 3600  # seconds
    least: int = 5


class Shelf:
    """The entries of one sort (existing, not existing), the least recently stored ones dropped first."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self.evictions = 0

    def put(self, key: Key, entry: Entry) -> None:
        self.entries[key] = entry
        self.entries.move_to_end(key)
        if len(self.entries) > self.kept.capacity:
            self.entries.popitem(last=False)
            self.evictions += 1


class Read(msgspec.Struct, gc=False):
    """What matters about a message: its bytes without OPT, the offsets of TTLs, the lifetime that it gives itself."""

    raw: bytes
    offsets: list[int]
    least: int
    denies: bool  # NXDOMAIN, or no data


def read(raw: bytes) -> Read:
    """WireError for a message that does not parse to its end."""
    rcode = raw[3] & 0xF
    questions, *counts = struct.unpack_from(">HHHH", raw, 4)
    at, offsets, least = 12, [], 0x7FFFFFFF
    has_soa = False
    kept = bytearray()
    for _ in range(questions):
        at = wire.skip_name(raw, at) + 4
    kept += raw[:at]
    for section, count in enumerate(counts):
        for _ in range(count):
            begin = at
            at = wire.skip_name(raw, at)
            if at + 10 > len(raw):
                raise WireError("a record is cut off")
            kind, _, ttl, length = struct.unpack_from(">HHIH", raw, at)
            at += 10 + length
            if at > len(raw):
                raise WireError("a record is cut off")
            if kind == wire.OPT:
                if at != len(raw):
                    return _rebuilt(raw)  # names behind it may point anywhere: written out anew
                struct.pack_into(">H", kept, 10, counts[2] - 1)
                continue
            if kind == wire.SOA and section == 1:
                has_soa = True
                ttl = min(ttl, _SOA_MINIMUM.unpack_from(raw, at - 4)[0]) if length >= 20 else ttl
            offsets.append(at - length - 6)
            least = min(least, ttl)
            kept += raw[begin:at]
    denies = rcode == wire.NXDOMAIN or (not counts[0] and (has_soa or not counts[1]))
    return Read(bytes(kept), offsets, least if offsets else 0, denies)


def _rebuilt(raw: bytes) -> Read:
    answers, authority, additional = message.sections(raw)
    end = wire.skip_name(raw, 12) + 4
    counts = struct.pack(">HHH", len(answers), len(authority), len(additional))
    return read(raw[:6] + counts + raw[12:end] + b"".join(each.wire() for each in (*answers, *authority, *additional)))


def aged(entry: Entry, seconds: int, *, ttl: int | None = None) -> bytearray:
    """The message with what is left of its TTLs (never more than its lifetime), or with `ttl` everywhere."""
    raw = bytearray(entry.raw)
    left = max(int(entry.lifetime) - seconds, 0)
    for at in entry.offsets:
        (given,) = struct.unpack_from(">I", raw, at)
        struct.pack_into(">I", raw, at, min(max(given - seconds, 0), left) if ttl is None else ttl)
    return raw
