"""What a rewrite rule matches and makes: names, types, classes, EDNS options, lifetimes. Pure."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

import msgspec

from clew.base.value import Value
from clew.servers.dns import message, wire
from clew.servers.dns.wire import Query, Response

Match = Callable[[str], str | None]  # a name with its final dot, in lower case, to what becomes of it; None: no match


def _absolute(text: str) -> str:
    return text.lower() if text.endswith(".") else f"{text.lower()}."


def _filled(template: str, found: "re.Match[str]") -> str:
    return re.sub(r"\{(\d+)\}", lambda number: found.group(int(number.group(1))) or "", template)


def matcher(how: str, old: str, new: str) -> Match:
    """`exact`, `prefix`, `suffix`, `substring` or `regex`; ValueError for a pattern that is none."""
    if how == "regex":
        try:
            pattern = re.compile(old)
        except re.error as wrong:
            raise ValueError(f"not a pattern: {wrong}") from None
        most = max(map(int, re.findall(r"\{(\d+)\}", new)), default=0)
        if most > pattern.groups:
            raise ValueError(f"{new!r} names group {most} of a pattern with {pattern.groups}")

        def by_regex(name: str) -> str | None:
            found = pattern.search(name)
            return _absolute(_filled(new, found)) if found else None

        return by_regex
    simple: dict[str, Match] = {
        "exact": lambda name: _absolute(new) if name == _absolute(old) else None,
        "prefix": lambda name: new.lower() + name[len(old) :] if name.startswith(old.lower()) else None,
        "suffix": lambda name: name[: -len(_absolute(old))] + _absolute(new) if name.endswith(_absolute(old)) else None,
        "substring": lambda name: name.replace(old.lower(), new.lower()) if old.lower() in name else None,
    }
    return simple[how]


class Rule(Protocol):
    def apply(self, query: Query) -> tuple[Query, "Back | None"] | None:
        """The query as it goes on and what undoes it in the response; None where the rule does not match."""
        ...


class Back(Value):
    """What is done to the response's records."""

    names: tuple[Match, ...] = ()  # owners
    values: tuple[Match, ...] = ()  # names in the data
    ttl: tuple[int, int] | None = None  # least and most


def _text(query: Query) -> str:
    return wire.name_to_text(query.lower)


class NameRule(Value):
    match: Match
    names: tuple[Match, ...]
    values: tuple[Match, ...]
    auto: bool  # names in the data that are the rewritten one become the one asked for

    def apply(self, query: Query) -> tuple[Query, Back | None] | None:
        asked = _text(query)
        name = self.match(asked)
        if name is None or name == asked:
            return None
        values = self.values
        if self.auto:
            values = (*values, matcher("exact", name, asked))
        return message.ask_for(query, wire.name_to_wire(name), query.qtype), Back(self.names, values)


class TypeRule(Value):
    old: int
    new: int

    def apply(self, query: Query) -> tuple[Query, Back | None] | None:
        return (message.ask_for(query, query.name, self.new), None) if query.qtype == self.old else None


class ClassRule(Value):
    old: int
    new: int

    def apply(self, query: Query) -> tuple[Query, Back | None] | None:
        if query.qclass != self.old:
            return None
        changed = msgspec.structs.replace(query, qclass=self.new)
        return message.ask_for(changed, query.name, query.qtype), None


class TtlRule(Value):
    match: Match
    least: int
    most: int

    def apply(self, query: Query) -> tuple[Query, Back | None] | None:
        return (query, Back(ttl=(self.least, self.most))) if self.match(_text(query)) is not None else None


class EdnsRule(Value):
    """Sets, appends or replaces one EDNS option of the query."""

    action: str
    code: int
    value: Callable[[Query], bytes]

    def apply(self, query: Query) -> tuple[Query, Back | None] | None:
        options = wire.options_of(query.options)
        there = any(code == self.code for code, _ in options)
        if (there and self.action == "append") or (not there and self.action == "replace"):
            return None
        kept = [(code, data) for code, data in options if code != self.code]
        packed = message.packed_options([*kept, (self.code, self.value(query))])
        return message.with_options(query, packed), None


def client_subnet(bits4: int, bits6: int) -> Callable[[Query], bytes]:
    """The data of EDNS client subnet (RFC 7871) for the asker, cut to that many bits."""

    def value(query: Query) -> bytes:
        ip = ip_address(query.client.partition("%")[0] or "0.0.0.0")  # noqa: S104 - an address in a message
        bits = bits4 if ip.version == 4 else bits6
        size = (bits + 7) // 8
        kept = int.from_bytes(ip.packed) >> (ip.max_prefixlen - bits) << (ip.max_prefixlen - bits)
        packed = kept.to_bytes(ip.max_prefixlen // 8)[:size]
        return (1 if ip.version == 4 else 2).to_bytes(2) + bytes((bits, 0)) + packed

    return value


def undone(response: Response, asked: Query, inner: Query, backs: list[Back]) -> Response:
    """The response as the asker expects it: owners that were rewritten bear the name asked for."""
    response = message.opened(response, inner)
    for section in ("answers", "authority", "additional"):
        records = [_undone(each, inner, backs) for each in getattr(response, section)]
        setattr(response, section, records)
    lasting = response.lasting if inner.lower == asked.lower and inner.qtype == asked.qtype else None
    return msgspec.structs.replace(response, lasting=lasting, raw=b"")


def _undone(record: bytes, inner: Query, backs: list[Back]) -> bytes:
    parsed = message.parsed(record, inner)
    at_question = parsed.owner.lower() == inner.lower
    for back in reversed(backs):
        if not at_question:
            parsed.owner = _renamed(parsed.owner, back.names)
        parsed.data = message.renamed_data(parsed, lambda name, back=back: _renamed(name, back.values))  # type: ignore[misc]
        if back.ttl is not None:
            parsed.ttl = min(max(parsed.ttl, back.ttl[0]), back.ttl[1])
    return wire.TO_QUESTION + parsed.body() if at_question else parsed.wire()


def _renamed(name: bytes, matches: tuple[Match, ...]) -> bytes:
    for match in matches:
        found = match(wire.name_to_text(name).lower())
        if found is not None:
            return wire.name_to_wire(found)
    return name
