r"""DNS messages as bytes (RFC 1035, EDNS0 of RFC 6891): questions in, answers out.

Names travel in wire form without compression: `b"\x03www\x07example\x00"`. Lower-casing one is `bytes.lower()`,
because a label's length (at most 63) is never an ASCII capital. Nothing here waits or opens a socket.
"""

import struct
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import msgspec

from clew.base.domain_names import name_to_wire as name_to_wire  # noqa: PLC0414 - one of the words of this module
from clew.ir.names import SOA_TIMES
from clew.servers.dns import cookies

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 41
IXFR, AXFR, ANY = 251, 252, 255
IN, CHAOS = 1, 3
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE = 0x7800

TYPES = {
    "A": A, "NS": NS, "CNAME": CNAME, "SOA": SOA, "PTR": PTR, "HINFO": HINFO, "MX": MX, "TXT": TXT, "AAAA": AAAA,
    "LOC": 29, "SRV": SRV, "NAPTR": 35, "DNAME": 39, "DS": 43, "SSHFP": 44, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48,
    "TLSA": 52, "SVCB": 64, "HTTPS": 65, "SPF": 99, "IXFR": IXFR, "AXFR": AXFR, "ANY": ANY, "CAA": 257,
}  # fmt: skip
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODE_NAMES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}

OUR_UDP_SIZE = 1232  # DNS flag day 2020: what crosses any path unfragmented
_HEADER = struct.Struct(">HHHHHH")
_QUESTION_TAIL = struct.Struct(">HH")
_RECORD_HEAD = struct.Struct(">HHIH")
TO_QUESTION = b"\xc0\x0c"  # compression pointer to the name of the question


class WireError(ValueError):
    """A message that cannot be understood; `rcode` is what to answer, None to stay silent."""

    def __init__(self, text: str, rcode: int | None = FORMERR) -> None:
        super().__init__(text)
        self.rcode = rcode


class Query(msgspec.Struct, gc=False):
    """One question as it came."""

    raw: bytes
    id: int
    flags: int
    name: bytes  # as asked, case kept
    lower: bytes
    qtype: int
    qclass: int
    question_end: int
    udp_size: int  # 0: no EDNS
    dnssec_ok: bool = False
    edns_version: int = 0
    tcp: bool = False
    client: str = ""
    client_port: int = 0
    internal: bool = False  # of our own making: an alias followed, a stale answer asked for again
    options: bytes = b""  # EDNS options as sent
    cookie: bytes = b""  # what an answer bears, where the asker sent one

    @property
    def question(self) -> bytes:
        return self.raw[12 : self.question_end]

    @property
    def room(self) -> int:
        """The largest answer the asker takes, in bytes."""
        if self.tcp:
            return 65535
        return min(max(self.udp_size, 512), OUR_UDP_SIZE)


class Tally(msgspec.Struct, gc=False):
    """How many queries of one kind were answered: by the chain, and from memory without a look at it."""

    slow: int = 0
    quick: int = 0


class Response(msgspec.Struct, gc=False):
    """An answer before encoding: records are bytes, each with its owner name; or `raw`, a whole upstream message."""

    rcode: int = NOERROR
    answers: Sequence[bytes] = ()
    authority: Sequence[bytes] = ()
    additional: Sequence[bytes] = ()
    authoritative: bool = False
    raw: bytes = b""
    chase: bytes = b""  # an alias leads to this name (wire form), for which somebody else answers
    error: tuple[int, str] | None = None  # extended DNS error: code and text (RFC 8914)
    mixed: frozenset[bytes] = frozenset()  # answers at the end whose order was drawn
    count: Callable[[Query, bytes], "Tally"] | None = None  # where the query counts, given the answer's bytes
    cut: bool = False  # sent as if it did not fit: the asker comes again by TCP
    private: bool = False  # for this asker alone: never kept
    lasting: tuple[bytes, ...] | None = None  # the same to everybody until one of these tokens is announced as changed


SILENCE = Response(rcode=-1)  # no answer at all; a plugin gives it back as it is


def reverse_name(ip: str) -> bytes:
    """The name below in-addr.arpa or ip6.arpa that stands for an address."""
    return name_to_wire(ip_address(ip).reverse_pointer)


def labels(wire: bytes) -> list[bytes]:
    """The labels of an uncompressed wire name, the root's empty one left out."""
    found, at = [], 0
    while length := wire[at]:
        found.append(wire[at + 1 : at + 1 + length])
        at += 1 + length
    return found


def name_to_text(wire: bytes) -> str:
    r"""`www.example.`; bytes that are no letters, digits, hyphens or underscores as `\DDD` (RFC 4343)."""
    text = ".".join(
        "".join(chr(c) if 33 <= c < 127 and c not in b'.\\"' else f"\\{c:03d}" for c in label) for label in labels(wire)
    )
    return text + "."


def is_below(lower: bytes, apex: bytes) -> bool:
    """Whether a name is `apex` or stands below it, at a label's border; both in wire form and lower case."""
    rest = len(lower) - len(apex)
    if rest < 0 or not lower.endswith(apex):
        return False
    at = 0
    while at < rest:
        at += 1 + lower[at]
    return at == rest


def skip_name(raw: bytes, at: int) -> int:
    """The offset after a (possibly compressed) name."""
    while True:
        if at >= len(raw):
            raise WireError("a name runs past the end")
        length = raw[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length >= 0x40:
            raise WireError("an unknown kind of label")
        at += 1 + length


def _question_name(raw: bytes) -> bytes:
    at = 12
    while at < len(raw) and raw[at]:
        if raw[at] > 63:
            raise WireError("the question's name is compressed")  # a pointer's last byte may look like the root's
        at += 1 + raw[at]
    if at >= len(raw) or at - 11 > 255:
        raise WireError("the question's name does not end, or is too long")
    return raw[12 : at + 1]


def parse_query(raw: bytes, *, tcp: bool = False, client: str = "") -> Query:
    """A question from its bytes. WireError with an rcode, or with None where an answer would help an attacker."""
    if len(raw) < 12:
        raise WireError("shorter than a header", None)
    message_id, flags, questions, answers, authority, additional = _HEADER.unpack_from(raw)
    if flags & QR:
        raise WireError("a response, not a question", None)
    if flags & OPCODE:
        raise WireError("only standard queries are served", NOTIMP)
    if questions != 1 or answers or authority:
        raise WireError("exactly one question is served")
    name = _question_name(raw)
    end = 12 + len(name) + 4
    if end > len(raw):
        raise WireError("the question is cut off")
    qtype, qclass = _QUESTION_TAIL.unpack_from(raw, end - 4)
    query = Query(raw, message_id, flags, name, name.lower(), qtype, qclass, end, 0, tcp=tcp, client=client)
    if additional:
        _read_edns(query, additional)
    return query


def _read_edns(query: Query, count: int) -> None:
    raw, at = query.raw, query.question_end
    for _ in range(count):
        start, at = at, skip_name(raw, at)
        if at + 10 > len(raw):
            raise WireError("an additional record is cut off")
        at_root = at == start + 1
        kind, size, ttl, length = _RECORD_HEAD.unpack_from(raw, at)
        at += 10 + length
        if at > len(raw):
            raise WireError("an additional record is cut off")
        if kind == OPT:
            if query.udp_size or not at_root:
                raise WireError("two OPT records, or one with a name")
            query.options = raw[at - length : at]
            cookie = next((data for code, data in options_of(query.options) if code == cookies.COOKIE), b"")
            query.cookie = cookies.reply(cookie, query.client) if cookie else b""
            if cookie and not query.cookie:
                raise WireError("a cookie of the wrong size")  # RFC 7873 section 5.2.2
            query.udp_size = max(size, 512)
            query.dnssec_ok = bool(ttl & 0x8000)
            query.edns_version = (ttl >> 16) & 0xFF


def options_of(data: bytes) -> list[tuple[int, bytes]]:
    """EDNS options as code and data; what is cut off at the end is left out."""
    found, at = [], 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(">HH", data, at)
        found.append((code, data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    """One resource record of class IN; owner `TO_QUESTION` points at the question's name."""
    return owner + _RECORD_HEAD.pack(kind, IN, ttl, len(data)) + data


def body(kind: int, ttl: int, data: bytes, qclass: int = IN) -> bytes:
    """A record without its owner name, to be put behind one when it is answered."""
    return _RECORD_HEAD.pack(kind, qclass, ttl, len(data)) + data


def soa_data(mname: bytes, rname: bytes, serial: int, negative_ttl: int) -> bytes:
    """SOA data as every zone here has it."""
    return mname + rname + struct.pack(">IIIII", serial & 0xFFFFFFFF, *SOA_TIMES, negative_ttl)


def refusal(raw: bytes, rcode: int) -> bytes:
    """A bare answer to a message whose question could not be read."""
    flags = QR | (struct.unpack_from(">H", raw, 2)[0] & (OPCODE | RD)) | rcode
    return raw[:2] + struct.pack(">HHHHH", flags, 0, 0, 0, 0)
