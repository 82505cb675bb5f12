"""A zone in memory: who answers to which name, as bytes made when the record came, not when it is asked for.

Records arrive in sets under a key (one service, say) and replace that key's former set, so one change costs the
same in a zone of a hundred names and of a hundred thousand. Names between the zone and a record exist too
(empty non-terminals, RFC 8020): they answer NODATA, not NXDOMAIN.
"""

import socket
import struct
from collections.abc import Hashable, Iterable, Mapping

from clew.ir.names import Record
from clew.servers.dns import wire


class Node:
    """A name that exists: its records by type (bodies without owner), and how many sets and children need it."""

    __slots__ = ("bodies", "uses")

    def __init__(self) -> None:
        self.bodies: dict[int, dict[bytes, int]] = {}
        self.uses = 0


def _data(record: Record) -> bytes:
    match record.type:
        case "A":
            return socket.inet_pton(socket.AF_INET, record.data)
        case "AAAA":
            return socket.inet_pton(socket.AF_INET6, record.data)
        case "CNAME" | "PTR":
            return wire.name_to_wire(record.data)
        case "TXT":
            text = record.data.encode()
            return bytes((len(text),)) + text
        case "SRV":
            priority, weight, port, target = record.data.split(" ")
            return struct.pack(">HHH", int(priority), int(weight), int(port)) + wire.name_to_wire(target)
    raise ValueError(f"no such record type: {record.type!r}")


def _ancestors(name: bytes, depth_of_zone: int) -> list[bytes]:
    """The names between `name` and the zone's own, nearest first."""
    found: list[bytes] = []
    while True:
        name = name[1 + name[0] :]
        if len(wire.labels(name)) <= depth_of_zone:
            return found
        found.append(name)


class Zone:
    """One apex, such as `cluster.local` or `in-addr.arpa`."""

    def __init__(self, apex: str, ttl: int = 5) -> None:
        self.apex = wire.name_to_wire(apex.lower())
        self.ttl = ttl
        self.serial = 1
        self._depth = len(wire.labels(self.apex))
        self._nodes: dict[bytes, Node] = {}
        self._sets: dict[Hashable, tuple[tuple[bytes, int, bytes], ...]] = {}
        self._soa = b""

    def __len__(self) -> int:
        return len(self._nodes)

    def holds(self, lower: bytes) -> bool:
        """Whether the name (wire form, lower case) is at or below the apex, at a label's border."""
        if not lower.endswith(self.apex):
            return False
        rest, at = len(lower) - len(self.apex), 0
        while at < rest:
            at += 1 + lower[at]
        return at == rest

    def put(self, key: Hashable, records: Iterable[Record]) -> None:
        """Replace the key's records; an empty set removes them. A record outside the zone is a ValueError."""
        new = tuple(dict.fromkeys(self._entry(record) for record in records))
        old = self._sets.get(key, ())
        if new == old:
            return
        for entry in new:
            self._add(*entry)
        for entry in old:
            self._remove(*entry)
        if new:
            self._sets[key] = new
        else:
            self._sets.pop(key, None)
        self.serial += 1
        self._soa = b""

    def replace(self, sets: Mapping[Hashable, Iterable[Record]]) -> None:
        """The whole zone at once; keys that are not named go."""
        for key in [key for key in self._sets if key not in sets]:
            self.put(key, ())
        for key, records in sets.items():
            self.put(key, records)

    def _entry(self, record: Record) -> tuple[bytes, int, bytes]:
        name = wire.name_to_wire(record.name.lower())
        if not self.holds(name):
            raise ValueError(f"{record.name} is not in the zone {wire.name_to_text(self.apex)}")
        kind = wire.TYPES[record.type]
        return name, kind, wire.body(kind, self.ttl, _data(record))

    def _add(self, name: bytes, kind: int, body: bytes) -> None:
        node = self._need(name)
        bodies = node.bodies.setdefault(kind, {})
        bodies[body] = bodies.get(body, 0) + 1
        for ancestor in _ancestors(name, self._depth):
            self._need(ancestor)

    def _need(self, name: bytes) -> Node:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = Node()
        node.uses += 1
        return node

    def _remove(self, name: bytes, kind: int, body: bytes) -> None:
        bodies = self._nodes[name].bodies[kind]
        bodies[body] -= 1
        if not bodies[body]:
            del bodies[body]
            if not bodies:
                del self._nodes[name].bodies[kind]
        for each in (name, *_ancestors(name, self._depth)):
            node = self._nodes[each]
            node.uses -= 1
            if not node.uses:
                del self._nodes[each]

    def lookup(self, lower: bytes) -> Node | None:
        return self._nodes.get(lower)

    def soa(self) -> bytes:
        """The apex's SOA as a whole record, for the authority section of negative answers."""
        if not self._soa:
            data = wire.soa_data(b"\2ns\3dns" + self.apex, b"\x0ahostmaster" + self.apex, self.serial, self.ttl)
            self._soa = wire.record(self.apex, wire.SOA, self.ttl, data)
        return self._soa

    def answer(self, query: wire.Query) -> wire.Response:
        """What the zone says to a question at or below its apex."""
        node = self._nodes.get(query.lower)
        if node is None:
            if query.lower == self.apex:
                return self._at_apex(query)
            return self.negative(wire.NXDOMAIN)
        bodies = node.bodies.get(query.qtype)
        if query.qtype == wire.ANY:  # RFC 8482: one set is enough
            bodies = next(iter(node.bodies.values()), None)
        if bodies:
            extra = self._targets(bodies) if query.qtype == wire.SRV else ()
            return wire.Response(answers=wire.owned_by_question(tuple(bodies)), additional=extra, authoritative=True)
        alias = node.bodies.get(wire.CNAME)
        if alias:
            return wire.Response(answers=wire.owned_by_question(tuple(alias)), authoritative=True)
        return self.negative(wire.NOERROR)

    def negative(self, rcode: int) -> wire.Response:
        """NXDOMAIN, or NODATA for NOERROR (RFC 2308)."""
        return wire.Response(rcode=rcode, authority=(self.soa(),), authoritative=True)

    def _at_apex(self, query: wire.Query) -> wire.Response:
        if query.qtype in {wire.SOA, wire.ANY}:
            return wire.Response(answers=(self.soa(),), authoritative=True)
        if query.qtype == wire.NS:
            data = b"\2ns\3dns" + self.apex
            return wire.Response(answers=(wire.record(self.apex, wire.NS, self.ttl, data),), authoritative=True)
        return self.negative(wire.NOERROR)

    def _targets(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Addresses of SRV targets in this zone, so that the asker need not ask again (RFC 2782)."""
        found = []
        for target in dict.fromkeys(body[16:] for body in bodies):
            node = self._nodes.get(target.lower())
            if node is not None:
                found += [target + each for kind in (wire.A, wire.AAAA) for each in node.bodies.get(kind, ())]
        return found
