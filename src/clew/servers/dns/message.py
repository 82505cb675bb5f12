"""Whole messages of others taken apart: records with names written out, so that they can stand in another answer.

Used where an upstream's answer becomes part of ours (aliases, rewriting); what is only passed on stays bytes.
"""

import struct
from collections.abc import Callable, Iterable

import msgspec

from clew.servers.dns import cookies, wire
from clew.servers.dns.wire import Query, Response, WireError

_MOST_JUMPS = 128  # compression pointers and labels followed in one name
_DNAME = 39
# how many bytes stand before the names in the data of each type, and how many names there are
_NAMES_IN_DATA = {
    wire.NS: (0, 1), wire.CNAME: (0, 1), wire.PTR: (0, 1), wire.SOA: (0, 2),
    wire.MX: (2, 1), _DNAME: (0, 1), wire.SRV: (6, 1),
}  # fmt: skip


class Parsed(msgspec.Struct, gc=False):
    """A record: owner in wire form with its capitals, and the data without compression."""

    owner: bytes
    kind: int
    qclass: int
    ttl: int
    data: bytes

    def wire(self) -> bytes:
        return self.owner + self.body()

    def body(self) -> bytes:
        return struct.pack(">HHIH", self.kind, self.qclass, self.ttl, len(self.data)) + self.data


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


def record_at(raw: bytes, at: int) -> tuple[Parsed, int]:
    """The record at an offset and the offset behind it; WireError where it is cut off."""
    owner, at = read_name(raw, at)
    if at + 10 > len(raw):
        raise WireError("a record is cut off")
    kind, qclass, ttl, length = struct.unpack_from(">HHIH", raw, at)
    at += 10
    if at + length > len(raw):
        raise WireError("a record is cut off")
    return Parsed(owner, kind, qclass, ttl, _data(raw, at, length, kind)), at + length


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
            record, at = record_at(raw, at)
            if record.kind != wire.OPT:
                section.append(record)
        found.append(section)
    return found[0], found[1], found[2]


def opened(response: Response, query: Query) -> Response:
    """A relayed message as records, so that it can be altered; a response of records as it is."""
    if not response.raw:
        return response
    answers, authority, additional = sections(response.raw)
    return Response(
        response.raw[3] & 0xF,
        [wire.TO_QUESTION + each.body() if each.owner.lower() == query.lower else each.wire() for each in answers],
        [each.wire() for each in authority],
        [each.wire() for each in additional],
        authoritative=bool(response.raw[2] & 4),
    )


def parsed(record: bytes, query: Query) -> Parsed:
    """One of a response's records, which may point at the question's name."""
    if record[:2] == wire.TO_QUESTION:
        kind, qclass, ttl, length = struct.unpack_from(">HHIH", record, 2)
        return Parsed(query.name, kind, qclass, ttl, record[12 : 12 + length])
    return record_at(record, 0)[0]


def alias_chain(response: Response, name: bytes) -> list[bytes]:
    """The answers that stand at `name` or where its aliases lead; records about anything else are left out."""
    wanted = {name.lower()}
    kept = []
    for record in response.answers:
        each = record_at(name + record[2:], 0)[0] if record[:2] == wire.TO_QUESTION else record_at(record, 0)[0]
        if each.owner.lower() in wanted:
            kept.append(each.wire())
            if each.kind == wire.CNAME:
                wanted.add(each.data.lower())
    return kept


def ask_for(query: Query, name: bytes, qtype: int) -> Query:
    """The same question about another name or type; all else (ID, flags, EDNS options) as the asker sent it."""
    head = query.raw[:12] + name + struct.pack(">HH", qtype, query.qclass)
    raw = head + query.raw[query.question_end :]
    return msgspec.structs.replace(
        query, raw=raw, name=name, lower=name.lower(), qtype=qtype, question_end=len(head), internal=True
    )


def with_options(query: Query, options: bytes) -> Query:
    """The same question with these EDNS options; EDNS is added where the asker sent none."""
    size, flags = query.udp_size or wire.OUR_UDP_SIZE, 0x8000 if query.dnssec_ok else 0
    head = query.raw[:10] + b"\0\1" + query.question
    opt = b"\0" + struct.pack(">HHIH", wire.OPT, size, flags, len(options)) + options
    return msgspec.structs.replace(query, raw=head + opt, options=options, internal=True)


def packed_options(options: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">HH", code, len(data)) + data for code, data in options)


def without_cookie(query: Query) -> Query:
    """A cookie is between an asker and the server that it asks (RFC 7873): it goes no further."""
    if not query.options:
        return query
    options = wire.options_of(query.options)
    kept = [(code, data) for code, data in options if code != cookies.COOKIE]
    return query if len(kept) == len(options) else with_options(query, packed_options(kept))


def renamed_data(record: Parsed, rename: Callable[[bytes], bytes]) -> bytes:
    """A record's data with `rename` done to each name in it."""
    before, names = _NAMES_IN_DATA.get(record.kind, (0, 0))
    parts, at = [record.data[:before]], before
    for _ in range(names):
        name, at = read_name(record.data, at)
        parts.append(rename(name))
    return b"".join((*parts, record.data[at:])) if names else record.data
