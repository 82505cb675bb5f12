"""Authorities: who answers to which name below an apex, and how; and the zone whose records are all in memory.

An `Authority` knows how to answer (aliases, NODATA against NXDOMAIN, SOA, targets' addresses) and leaves finding a
name to whoever derives from it: `Zone` here, from sets of records given under a key; the kubernetes plugin, from
services. Names between the apex and a record exist too (empty non-terminals, RFC 8020): they answer NODATA.
"""

import socket
import struct
from collections.abc import Collection, Hashable, Iterable, Mapping

from clew.ir.names import Record
from clew.servers.dns import wire

Sets = Mapping[int, Collection[bytes]]  # records (bodies without owner) by type; empty: the name exists, no more

_MOST_ALIASES = 8  # a chain of CNAMEs is followed no further


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


def entry(record: Record, ttl: int) -> tuple[bytes, int, bytes]:
    """A record as owner (wire form, lower case), type and body; ValueError where a name or an address is none."""
    kind = wire.TYPES[record.type]
    return wire.name_to_wire(record.name.lower()), kind, wire.body(kind, ttl, _data(record))


def ancestors(name: bytes, apex: bytes) -> Iterable[bytes]:
    """The names between `name` and the apex, nearest first."""
    name = name[1 + name[0] :]
    while len(name) > len(apex):
        yield name
        name = name[1 + name[0] :]


class Authority:
    """One apex, such as `cluster.local` or `in-addr.arpa`."""

    def __init__(self, apex: str, ttl: int = 5) -> None:
        self.apex = wire.name_to_wire(apex.lower())
        self.ttl = ttl
        self.serial = 1

    def find(self, lower: bytes) -> Sets | None:
        """What stands at a name at or below the apex (wire form, lower case); None where there is no such name."""
        raise NotImplementedError

    def token(self, lower: bytes) -> bytes:
        """What a change is announced under that alters the answer to this name."""
        return lower

    def holds(self, lower: bytes) -> bool:
        """Whether the name (wire form, lower case) is at or below the apex, at a label's border."""
        return wire.is_below(lower, self.apex)

    def soa(self) -> bytes:
        """The apex's SOA as a whole record, for the authority section of negative answers."""
        data = wire.soa_data(b"\2ns\3dns" + self.apex, b"\x0ahostmaster" + self.apex, self.serial, self.ttl)
        return wire.record(self.apex, wire.SOA, self.ttl, data)

    def name_servers(self) -> Collection[bytes]:
        """The wire names of the servers that answer for the apex."""
        return (b"\2ns\3dns" + self.apex,)

    def answer(self, query: wire.Query) -> wire.Response:
        """What is said to a question at or below the apex; `chase` is set where an alias leads out of it."""
        if query.lower == self.apex and query.qtype in {wire.SOA, wire.NS, wire.ANY}:
            return self._at_apex(query.qtype)
        answers: list[bytes] = []
        seen: list[bytes] = []
        name, owner = query.lower, wire.TO_QUESTION
        for _ in range(_MOST_ALIASES):
            seen.append(self.token(name))
            sets = self.find(name)
            if sets is None:
                return self._negative(wire.NXDOMAIN, answers, seen)
            bodies = sets.get(query.qtype) or (query.qtype == wire.ANY and next(iter(sets.values()), ()))
            if bodies:  # ANY: one set is enough (RFC 8482)
                answers += [owner + body for body in bodies]
                extra = self._targets(bodies, seen) if query.qtype == wire.SRV else ()
                return wire.Response(answers=answers, additional=extra, authoritative=True, lasting=tuple(seen))
            alias = next(iter(sets.get(wire.CNAME, ())), b"")
            if not alias:
                return self._negative(wire.NOERROR, answers, seen)
            answers.append(owner + alias)
            owner = alias[10:]
            name = owner.lower()
            if not self.holds(name):
                return wire.Response(answers=answers, authoritative=True, chase=owner)
        return wire.Response(rcode=wire.SERVFAIL)

    def negative(self, rcode: int, lower: bytes) -> wire.Response:
        """NXDOMAIN, or NODATA for NOERROR (RFC 2308), about one name."""
        return self._negative(rcode, (), (self.token(lower),))

    def _negative(self, rcode: int, answers: Collection[bytes], seen: Iterable[bytes]) -> wire.Response:
        return wire.Response(rcode, tuple(answers), (self.soa(),), authoritative=True, lasting=tuple(seen))

    def _at_apex(self, qtype: int) -> wire.Response:
        if qtype != wire.NS:
            return wire.Response(answers=(self.soa(),), authoritative=True)
        bodies = [wire.body(wire.NS, self.ttl, name) for name in self.name_servers()]
        extra = self._addresses(self.name_servers(), [])
        return wire.Response(answers=[wire.TO_QUESTION + each for each in bodies], additional=extra, authoritative=True)

    def _targets(self, bodies: Iterable[bytes], seen: list[bytes]) -> list[bytes]:
        """Addresses of SRV targets below the apex, so that the asker need not ask again (RFC 2782)."""
        return self._addresses(dict.fromkeys(body[16:] for body in bodies), seen)

    def _addresses(self, names: Iterable[bytes], seen: list[bytes]) -> list[bytes]:
        found = []
        for name in names:
            lower = name.lower()
            if self.holds(lower):
                token = self.token(lower)
                if token not in seen:
                    seen.append(token)
                sets = self.find(lower) or {}
                found += [name + each for kind in (wire.A, wire.AAAA) for each in sets.get(kind, ())]
        return found


class Node:
    """A name that exists: its records by type (bodies without owner), and how many sets and children need it."""

    __slots__ = ("bodies", "uses")

    def __init__(self) -> None:
        self.bodies: dict[int, dict[bytes, int]] = {}
        self.uses = 0


class Zone(Authority):
    """Records in sets under a key; a set replaces that key's former one, and one change costs what it changes."""

    def __init__(self, apex: str, ttl: int = 5) -> None:
        super().__init__(apex, ttl)
        self._nodes: dict[bytes, Node] = {}
        self._sets: dict[Hashable, tuple[tuple[bytes, int, bytes], ...]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def find(self, lower: bytes) -> Sets | None:
        node = self._nodes.get(lower)
        if node is None:
            return {} if lower == self.apex else None
        return node.bodies

    def put(self, key: Hashable, records: Iterable[Record]) -> None:
        """Replace the key's records; an empty set removes them. A record outside the zone is a ValueError."""
        self.put_entries(key, [entry(record, self.ttl) for record in records])

    def put_entries(self, key: Hashable, entries: Iterable[tuple[bytes, int, bytes]]) -> None:
        """As `put`, from owners (wire form, lower case), types and bodies."""
        new = tuple(dict.fromkeys(entries))
        for name, _, _ in new:
            if not self.holds(name):
                raise ValueError(f"{wire.name_to_text(name)} is not in the zone {wire.name_to_text(self.apex)}")
        old = self._sets.get(key, ())
        if new == old:
            return
        for each in new:
            self._add(*each)
        for each in old:
            self._remove(*each)
        if new:
            self._sets[key] = new
        else:
            self._sets.pop(key, None)
        self.serial += 1

    def replace(self, sets: Mapping[Hashable, Iterable[Record]]) -> None:
        """The whole zone at once; keys that are not named go."""
        for key in [key for key in self._sets if key not in sets]:
            self.put(key, ())
        for key, records in sets.items():
            self.put(key, records)

    def _add(self, name: bytes, kind: int, body: bytes) -> None:
        node = self._need(name)
        bodies = node.bodies.setdefault(kind, {})
        bodies[body] = bodies.get(body, 0) + 1
        for ancestor in ancestors(name, self.apex):
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
        for each in (name, *ancestors(name, self.apex)):
            node = self._nodes[each]
            node.uses -= 1
            if not node.uses:
                del self._nodes[each]
