"""Whole messages of others taken apart: records with names written out, so that they can stand in another answer.

Used where an upstream's answer becomes part of ours (aliases, rewriting); what is only passed on stays bytes.
"""

import struct

import msgspec

from clew.servers.dns import wire
from clew.servers.dns.wire import Query, Response, WireError

_MOST_JUMPS = 128  # compression pointers followed in one name
# how many bytes stand before the names in the data of each type, and how many names there are
_NAMES_IN_DATA = {
    wire.NS: (0, 1),
    wire.CNAME: (0, 1),
    wire.PTR: (0, 1),
    wire.SOA: (0, 2),
    15: (2, 1),
    39: (0, 1),
    33: (6, 1),
}


class Parsed(msgspec.Struct, gc=False):
    """A record: owner in wire form with its capitals, and the data without compression."""

    owner: bytes
    kind: int
    qclass: int
    ttl: int
    data: bytes

    def wire(self, ttl: int | None = None) -> bytes:
        head = struct.pack(">HHIH", self.kind, self.qclass, self.ttl if ttl is None else ttl, len(self.data))
        return self.owner + head + self.data


def read_name(raw: bytes, at: int) -> tuple[bytes, int]:
    """The name at an offset, written out, and the offset behind it; WireError where it does not end."""
    labels: list[bytes] = []
    behind, size = -1, 1
    for _ in range(_MOST_JUMPS):
        if at >= len(raw):
            break
        length = raw[at]
        if length >= 0xC0 and at + 1 < len(raw):
            behind = at + 2 if behind < 0 else behind
            target = (length & 0x3F) << 8 | raw[at + 1]
            if target >= at:
                break  # a pointer leads back, never on
            at = target
            continue
        size += 1 + length
        if length > 63 or size > 256 or at + 1 + length > len(raw):
            break
        if not length:
            return b"".join(labels) + b"\0", at + 1 if behind < 0 else behind
        labels.append(raw[at : at + 1 + length])
        at += 1 + length
    raise WireError("a name does not end")


def _data(raw: bytes, at: int, length: int, kind: int) -> bytes:
    before, names = _NAMES_IN_DATA.get(kind, (0, 0))
    if not names:
        return raw[at : at + length]
    end, parts = at + length, [raw[at : at + before]]
    at += before
    for _ in range(names):
        name, at = read_name(raw, at)
        parts.append(name)
    if at > end:
        raise WireError("a name runs past its record")
    return b"".join((*parts, raw[at:end]))


def sections(raw: bytes) -> tuple[list[Parsed], list[Parsed], list[Parsed]]:
    """Answers, authority and additional records (without OPT) of a message; WireError where it is none."""
    if len(raw) < 12:
        raise WireError("shorter than a header")
    questions, *counts = struct.unpack_from(">HHHH", raw, 4)
    at = 12
    for _ in range(questions):
        at = wire.skip_name(raw, at) + 4
    found: list[list[Parsed]] = []
    for count in counts:
        section: list[Parsed] = []
        for _ in range(count):
            owner, at = read_name(raw, at)
            if at + 10 > len(raw):
                raise WireError("a record is cut off")
            kind, qclass, ttl, length = struct.unpack_from(">HHIH", raw, at)
            at += 10
            if at + length > len(raw):
                raise WireError("a record is cut off")
            if kind != wire.OPT:
                section.append(Parsed(owner, kind, qclass, ttl, _data(raw, at, length, kind)))
            at += length
        found.append(section)
    return found[0], found[1], found[2]


def opened(response: Response, query: Query) -> Response:
    """A relayed message as records, so that it can be altered; a response of records as it is."""
    if not response.raw:
        return response
    answers, authority, additional = sections(response.raw)
    return Response(
        response.raw[3] & 0xF,
        [
            wire.TO_QUESTION + each.wire()[len(each.owner) :] if each.owner.lower() == query.lower else each.wire()
            for each in answers
        ],
        [each.wire() for each in authority],
        [each.wire() for each in additional],
        authoritative=bool(response.raw[2] & 4),
    )


def ask_for(query: Query, name: bytes, qtype: int) -> Query:
    """The same question about another name or type; all else (ID, flags, EDNS options) as the asker sent it."""
    head = query.raw[:12] + name + struct.pack(">HH", qtype, query.qclass)
    raw = head + query.raw[query.question_end :]
    return msgspec.structs.replace(query, raw=raw, name=name, lower=name.lower(), qtype=qtype, question_end=len(head))
