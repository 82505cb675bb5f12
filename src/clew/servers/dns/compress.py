"""Name compression (RFC 1035 section 4.1.4): records put behind each other, names said once and pointed at again.

Owners and the names in data of the old types are compressed; SRV targets are not (RFC 2782), but are pointed at.
"""

from clew.servers.dns import wire

_FURTHEST = 0x3FFF  # what a pointer can reach
_SRV = wire.SRV.to_bytes(2)
_ONE_NAME = frozenset(kind.to_bytes(2) for kind in (wire.NS, wire.CNAME, wire.PTR))
_SOA, _MX = wire.SOA.to_bytes(2), wire.MX.to_bytes(2)


class Packer:
    """Knows where each name of a message stands; starts with the question's."""

    def __init__(self, name: bytes) -> None:
        self._places: dict[bytes, int] = {}
        self._learn(name, 12)

    def _learn(self, name: bytes, at: int) -> None:
        """The name and its endings, uncompressed at an offset."""
        while name[0] and at <= _FURTHEST:
            self._places.setdefault(name, at)
            at += 1 + name[0]
            name = name[1 + name[0] :]

    def _name(self, name: bytes, at: int) -> bytes:
        """The name as it is written at an offset. Capitals must agree, since an asker's own are echoed."""
        made = b""
        rest = name
        while rest[0]:
            place = self._places.get(rest)
            if place is not None:
                return made + (0xC000 | place).to_bytes(2)
            if at + len(made) <= _FURTHEST:
                self._places[rest] = at + len(made)
            made += rest[: 1 + rest[0]]
            rest = rest[1 + rest[0] :]
        return made + b"\0"

    def record(self, record: bytes, at: int) -> bytes:
        """A record as it is written at an offset of the message."""
        if record[:2] == wire.TO_QUESTION:
            owner, body = wire.TO_QUESTION, record[2:]
        else:
            end = wire.skip_name(record, 0)
            owner, body = self._name(record[:end], at), record[end:]
        kind, data_at = body[:2], at + len(owner) + 10
        if kind == _SRV:
            self._learn(body[16:], data_at + 6)
            return owner + body
        if kind in _ONE_NAME:
            data = self._name(body[10:], data_at)
        elif kind == _MX:
            data = body[10:12] + self._name(body[12:], data_at + 2)
        elif kind == _SOA:
            end = wire.skip_name(body, 10)
            first = self._name(body[10:end], data_at)
            data = first + self._name(body[end:-20], data_at + len(first)) + body[-20:]
        else:
            return owner + body
        return owner + body[:8] + len(data).to_bytes(2) + data
