"""What bpf/dns.bpf.c does with a question, from the entries of its maps. Pure; held equal to the program by tests."""

from collections.abc import Mapping

from clew.base.value import Value
from clew.dataplane.dns_fast_path.objects import DEPTH, HEADER, KEY, LABELS, NameEntry, Outcome, What, ZoneEntry

_A, _AAAA, _OPT, _IN = 1, 28, 41, 1
_QR_AND_OPCODE, _RD_AND_CD, _AA, _DO = 0xF800, 0x0110, 0x0400, 0x8000
_LEAST, _MOST = HEADER + 5, 282  # bytes of a question
_UDP_SIZE = 1232


class Knowledge(Value):
    """The maps: names by key, the zone, its serial number, and whether all of it is known to be complete."""

    names: Mapping[bytes, NameEntry]
    zone: ZoneEntry
    serial: int = 1
    sure: bool = True


class Decision(Value):
    outcome: Outcome
    answer: bytes = b""  # empty: it passes on
    entry: NameEntry | None = None  # what decided, where something stood at the name or above it


class _Question(Value):
    starts: tuple[int, ...]  # of labels
    name: bytes
    kind: int
    edns: bool
    dnssec_ok: int


class _PassError(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def decide(known: Knowledge, message: bytes) -> Decision:
    """`message` is a UDP datagram's content, sent to one of the servers."""
    try:
        return _decided(known, message)
    except _PassError as passed:
        return Decision(passed.outcome)


def _decided(known: Knowledge, message: bytes) -> Decision:
    if not _LEAST <= len(message) <= _MOST:
        raise _PassError(Outcome.UNUSUAL)
    if not known.sure:
        raise _PassError(Outcome.UNSURE)
    question = _read(message)
    outcome, entry = _find(known, question, _below(question, known.zone))
    if not outcome.answered:
        return Decision(outcome, entry=entry)
    return Decision(outcome, _answer(known, message, question, outcome, entry), entry)


def _word(message: bytes, at: int) -> int:
    return int.from_bytes(message[at : at + 2])


def _read(message: bytes) -> _Question:
    if _word(message, 2) & _QR_AND_OPCODE or _word(message, 4) != 1 or message[6:10] != bytes(4):
        raise _PassError(Outcome.UNUSUAL)
    starts, at = _labels(message[HEADER:].ljust(256, b"\0"))
    rest = message[HEADER + at :].ljust(4, b"\0")
    kind, qclass = _word(rest, 0), _word(rest, 2)
    if qclass != _IN or kind not in {_A, _AAAA}:
        raise _PassError(Outcome.TYPE)
    edns, extra = _word(message, 10), message[HEADER + at + 4 :]
    if (edns == 0 and len(message) != HEADER + at + 4) or edns > 1:
        raise _PassError(Outcome.UNUSUAL)
    if edns and (
        len(extra) != 11 or extra[:3] != b"\0\0\x29" or extra[5:7] != b"\0\0" or extra[9:] != b"\0\0"
        or _word(extra, 7) & ~_DO
    ):  # fmt: skip
        raise _PassError(Outcome.UNUSUAL)
    return _Question(starts, message[HEADER : HEADER + at], kind, bool(edns), _word(extra, 7) if edns else 0)


def _labels(name: bytes) -> tuple[tuple[int, ...], int]:
    """Where labels start, and the name's size with its end."""
    starts: list[int] = []
    at = 0
    while True:
        if len(starts) == LABELS:
            raise _PassError(Outcome.LONG)
        if at > 254 or name[at] > 63:
            raise _PassError(Outcome.UNUSUAL)
        if not name[at]:
            return tuple(starts), at + 1
        starts.append(at)
        at += 1 + name[at]


def _below(question: _Question, zone: ZoneEntry) -> int:
    """How many labels the name has below the zone."""
    apex, below = len(question.name) - len(zone.apex), len(question.starts) - zone.labels
    whole = below >= 0 and question.starts[below] == apex
    if not whole or question.name[apex:].lower() != zone.apex:
        raise _PassError(Outcome.ZONE)
    return below


def _find(known: Knowledge, question: _Question, below: int) -> tuple[Outcome, NameEntry | None]:
    apex = len(question.name) - len(known.zone.apex)
    if not below:
        return Outcome.NODATA, None
    for depth in range(min(DEPTH, below), 0, -1):
        start = question.starts[below - depth]
        if apex - start > KEY:
            raise _PassError(Outcome.LONG)
        entry = known.names.get(question.name[start:apex].lower())
        if entry is None:
            continue
        if depth < below:
            return Outcome.SERVER if entry.what & What.ASK_BELOW else Outcome.NXDOMAIN, entry
        if entry.what & What.ASK:
            return Outcome.SERVER, entry
        has = entry.what & (What.A if question.kind == _A else What.AAAA)
        return Outcome.ADDRESS if has else Outcome.NODATA, entry
    return Outcome.NXDOMAIN, None


def _answer(known: Knowledge, message: bytes, question: _Question, outcome: Outcome, entry: NameEntry | None) -> bytes:
    """The whole message."""
    positive = outcome == Outcome.ADDRESS and entry is not None
    if positive and entry is not None:
        address = entry.a if question.kind == _A else entry.aaaa
        head = b"\xc0\x0c" + question.kind.to_bytes(2) + _IN.to_bytes(2) + known.zone.ttl.to_bytes(4)
        record = head + len(address).to_bytes(2) + address
    else:
        record = _soa(known, question)
    flags = (_word(message, 2) & _RD_AND_CD) | 0x8000 | _AA | (3 if outcome == Outcome.NXDOMAIN else 0)
    counts = (1, positive, not positive, question.edns)
    numbers = flags.to_bytes(2) + b"".join(int(each).to_bytes(2) for each in counts)
    opt = b"\0\0\x29" + _UDP_SIZE.to_bytes(2) + b"\0\0" + question.dnssec_ok.to_bytes(2) + b"\0\0"
    asked = message[HEADER : HEADER + len(question.name) + 4]
    return message[:2] + numbers + asked + record + (opt if question.edns else b"")


def _soa(known: Knowledge, question: _Question) -> bytes:
    zone, size = known.zone, len(question.name)
    apex = size - len(zone.apex)
    agree = zone.agreeing(question.name[apex:])
    soa = zone.soa[agree]
    made = bytearray(soa.record)
    place = HEADER + (apex if agree == zone.labels else size + 4)
    if soa.suffix:
        made[soa.at[0] : soa.at[0] + 2] = (0xC000 | HEADER + size - soa.suffix).to_bytes(2)
    for at in soa.at[1:]:
        made[at : at + 2] = (0xC000 | place).to_bytes(2)
    made[soa.serial : soa.serial + 4] = known.serial.to_bytes(4)
    return bytes(made)
