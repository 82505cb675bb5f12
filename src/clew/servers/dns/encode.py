"""Answers to bytes: sections in order, names compressed, what does not fit cut, EDNS answered where it was spoken."""

import struct

from clew.servers.dns import cookies
from clew.servers.dns.compress import Packer
from clew.servers.dns.wire import AA, CD, OPT, OUR_UDP_SIZE, QR, RA, RD, TC, Query, Response

_EXTENDED_ERROR = 15  # an EDNS option (RFC 8914)
_HEADER = struct.Struct(">HHHHHH")
_RECORD_HEAD = struct.Struct(">HHIH")


def encode(query: Query, response: Response) -> bytes:
    """The reply's bytes; what does not fit the asker's room is cut at a record and TC set (RFC 2181 section 9)."""
    if response.raw:
        return _relayed(query, response.raw)
    opt = edns_reply(query, response.rcode, response.error)
    end = query.room - len(opt)
    at = query.question_end
    packer: Packer | None = None
    kept: list[bytes] = []
    counts = []
    truncated = response.cut
    for section in (response.answers, response.authority, response.additional):
        before = len(kept)
        for each in section:
            if packer is None:
                packer = Packer(query.name)
            packed = packer.record(each, at)
            if truncated or at + len(packed) > end:
                # additional records are a courtesy: leaving them out truncates nothing
                truncated = truncated or section is not response.additional
                break
            at += len(packed)
            kept.append(packed)
        counts.append(len(kept) - before)
    flags = QR | (query.flags & (RD | CD)) | (response.rcode & 0xF)
    flags |= AA if response.authoritative else RA
    if truncated:
        flags |= TC
    head = _HEADER.pack(query.id, flags, 1, counts[0], counts[1], counts[2] + bool(opt))
    return b"".join((head, query.question, *kept, opt))


def edns_reply(query: Query, rcode: int, error: tuple[int, str] | None = None) -> bytes:
    """The OPT record of an answer; empty where the asker sent none (RFC 6891 section 7)."""
    if not query.udp_size:
        return b""
    ttl = (rcode >> 4) << 24 | (0x8000 if query.dnssec_ok else 0)
    options = b""
    if query.cookie:
        options = struct.pack(">HH", cookies.COOKIE, len(query.cookie)) + query.cookie
    if error is not None:
        text = error[1].encode()
        options += struct.pack(">HHH", _EXTENDED_ERROR, 2 + len(text), error[0]) + text
    return b"\0" + _RECORD_HEAD.pack(OPT, OUR_UDP_SIZE, ttl, len(options)) + options


def _relayed(query: Query, raw: bytes) -> bytes:
    """An upstream's message under our asker's ID and capitals; TC and the question alone if it does not fit."""
    if len(raw) > query.room:
        flags = struct.unpack_from(">H", raw, 2)[0] | TC
        opt = edns_reply(query, 0)
        return _HEADER.pack(query.id, flags, 1, 0, 0, bool(opt)) + query.question + opt
    return query.raw[:2] + raw[2:12] + query.question + raw[query.question_end :]
