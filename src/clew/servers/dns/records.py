r"""Records as text (RFC 1035 section 5), for zone files and templates: one line to owner, type and body.

What has no text form here can be written as RFC 3597 does: `TYPE65 \# 4 0a000001`.
"""

import re
import shlex
import socket
import struct
from collections.abc import Callable, Sequence

from clew.servers.dns import wire

Entry = tuple[bytes, int, bytes]  # owner in wire form and lower case, type, body

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 2**31 - 1
_CLASSES = frozenset({"IN", "CH", "HS", "ANY"})


def name(text: str, origin: str) -> bytes:
    """A name, below `origin` (text without the final dot) where it has no final dot itself; `@` is the origin."""
    if text == "@":
        return wire.name_to_wire(origin)
    if text.endswith("."):
        return wire.name_to_wire(text)
    return wire.name_to_wire(f"{text}.{origin}" if origin else text)


def seconds(text: str) -> int:
    """A TTL: `3600`, `1h30m`; ValueError for none."""
    if not re.fullmatch(r"(\d+[smhdw]?)+", text.lower()):
        raise ValueError(f"{text!r} is not a time to live")
    parts = re.findall(r"(\d+)([smhdw]?)", text.lower())
    found = sum(int(count) * _UNITS.get(unit, 1) for count, unit in parts)
    if found > _LONGEST:
        raise ValueError(f"{text!r} is longer than a time to live can be ({_LONGEST} seconds, RFC 2181)")
    return found


def _texts(words: Sequence[str]) -> bytes:
    found = b""
    for word in words:
        data = word.encode()
        for at in range(0, max(len(data), 1), 255):
            part = data[at : at + 255]
            found += bytes((len(part),)) + part
    return found


def _numbers(form: str, words: Sequence[str]) -> bytes:
    return struct.pack(form, *map(int, words))


def _soa(words: Sequence[str], origin: str) -> bytes:
    mname, rname, serial, *times = words
    values = [int(serial), *map(seconds, times)]
    return name(mname, origin) + name(rname, origin) + struct.pack(">IIIII", *values)


def _caa(words: Sequence[str], _origin: str) -> bytes:
    flags, tag, value = words
    return bytes((int(flags), len(tag))) + tag.encode() + value.encode()


def _unknown(words: Sequence[str], _origin: str) -> bytes:
    """RFC 3597: any type, by its bytes."""
    content = bytes.fromhex("".join(words[2:]))
    if len(content) != int(words[1]):
        raise ValueError(f"{words[1]} bytes were announced and {len(content)} are there")
    return content


_DATA: dict[int, Callable[[Sequence[str], str], bytes]] = {
    wire.A: lambda words, _: socket.inet_pton(socket.AF_INET, words[0]),
    wire.AAAA: lambda words, _: socket.inet_pton(socket.AF_INET6, words[0]),
    wire.NS: lambda words, origin: name(words[0], origin),
    wire.CNAME: lambda words, origin: name(words[0], origin),
    wire.PTR: lambda words, origin: name(words[0], origin),
    wire.TYPES["DNAME"]: lambda words, origin: name(words[0], origin),
    wire.MX: lambda words, origin: _numbers(">H", words[:1]) + name(words[1], origin),
    wire.SRV: lambda words, origin: _numbers(">HHH", words[:3]) + name(words[3], origin),
    wire.TXT: lambda words, _: _texts(words),
    wire.TYPES["SPF"]: lambda words, _: _texts(words),
    wire.HINFO: lambda words, _: _texts(words[:2]),
    wire.SOA: _soa,
    wire.TYPES["CAA"]: _caa,
}


def type_number(text: str) -> int:
    """`A`, `TYPE65`; ValueError for no type."""
    upper = text.upper()
    if upper in wire.TYPES:
        return wire.TYPES[upper]
    if re.fullmatch(r"TYPE\d{1,5}", upper) and int(upper[4:]) < 65536:
        return int(upper[4:])
    raise ValueError(f"{text!r} is no record type")


def data(kind: int, words: Sequence[str], origin: str) -> bytes:
    """A record's data; ValueError where the words do not make one."""
    made = _unknown if words[:1] == ["\\#"] else _DATA.get(kind)
    if made is None:
        raise ValueError(f"records of type {wire.TYPE_NAMES.get(kind, kind)} are written as \\# LENGTH HEX here")
    try:
        found = made(words, origin)
        struct.pack(">H", len(found))  # what a message can say of its length
    except (IndexError, OSError, struct.error, ValueError) as error:
        shown = f"{wire.TYPE_NAMES.get(kind, kind)} {' '.join(words)}"
        raise ValueError(f"not a record: {shown}: {error or 'a field is missing'}") from None
    return found


def split(line: str) -> list[str]:
    """A line's words; quotes hold spaces together, `;` starts a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.quotes, lexer.escape, lexer.commenters = True, '"', "", ";"
    return list(lexer)


def entry(words: Sequence[str], origin: str, owner: str, ttl: int) -> tuple[Entry, str, int]:
    """`[TTL] [CLASS] TYPE DATA...` behind an owner, with the default TTL; also the owner and TTL as given."""
    rest = list(words)
    while rest:
        if rest[0].upper() in _CLASSES:
            rest.pop(0)
        elif rest[0][:1].isdigit():
            ttl = seconds(rest.pop(0))
        else:
            break
    if not rest:
        raise ValueError("no record type")
    kind = type_number(rest[0])
    body = wire.body(kind, ttl, data(kind, rest[1:], origin))
    return (name(owner, origin).lower(), kind, body), owner, ttl


def record(line: str, ttl: int = 3600) -> bytes:
    """One whole record from one line, all names absolute."""
    owner, *words = [word for word in split(line) if word not in {"(", ")"}]
    words = [word.strip("()") for word in words]
    (_, _, body), *_ = entry([word for word in words if word], "", owner, ttl)
    return name(owner, "") + body
