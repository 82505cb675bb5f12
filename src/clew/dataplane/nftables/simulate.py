"""What the table does to a packet: the rules, run on values instead of packets.

Pure. It reads rendered objects or a table read back (structure and elements), never load balancing itself, so it can
disagree with what was meant. It knows only the first packet of a connection, which is the one that decides. Where a
rule draws a random number every draw is followed, so the answer is a set. Used by tests and scenarios.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network

import msgspec

from clew.dataplane.nftables import layout
from clew.dataplane.nftables.layout import SETS_BY_NAME, SetLayout
from clew.dataplane.nftables.objects import (
    Chain,
    Change,
    Compare,
    Dispatch,
    Fetch,
    Field,
    Forget,
    Go,
    Hashed,
    Key,
    Masked,
    Member,
    Part,
    Put,
    Random,
    Remember,
    Statement,
    Table,
    Translate,
    Word,
)
from clew.ir import packets
from clew.ir.packets import End, Surroundings

Elements = Mapping[str, Mapping[bytes, bytes]]


class Packet(packets.Packet):
    priority: int = 0


class Outcome(packets.Outcome):
    """`remembered`: set number, client and slot that affinity will know."""

    priority: int = 0
    rules: tuple[tuple[str, int], ...] = ()  # chain and place of every rule that matched, in order


Affinity = Mapping[tuple[int, str], int]  # set number and client: slot


def simulate(
    table: Table, elements: Elements, packet: Packet, around: Surroundings, affinity: Affinity | None = None
) -> frozenset[Outcome]:
    """Every outcome that the packet can have."""
    outcomes = set()
    draws: list[list[int]] = [[]]
    while draws:
        given = draws.pop()
        run = _Run(table, elements, packet, around, given, affinity or {})
        outcomes.add(run.outcome())
        for place in range(len(given), len(run.drawn)):  # each further draw: the other numbers it could have given
            number, modulus = run.drawn[place]
            before = [each for each, _ in run.drawn[:place]]
            draws += [[*before, other] for other in range(modulus) if other != number]
    return frozenset(outcomes)


class UnknownRuleError(ValueError):
    """A rule that this backend does not write: its effect cannot be told."""


class _Verdict(Exception):  # noqa: N818  not an error: the way out of nested chains
    def __init__(self, text: str) -> None:
        self.text = text


ENDS: Mapping[str, End] = {
    "drop": "dropped",
    "reject with tcp reset": "refused by reset",
    "reject": "refused by icmp",
    "accept": "goes on",
}
Way = tuple[str, str] | None  # verb and chain


class _Run:
    """One way through the hooks, with the draws of random numbers given as far as they go, then zero."""

    def __init__(
        self,
        table: Table,
        elements: Elements,
        packet: Packet,
        around: Surroundings,
        draws: list[int],
        affinity: Affinity,
    ) -> None:
        self._table, self._elements, self._around = table, elements, around
        self._packet = packet
        self._chains = {chain.name: chain for chain in table.chains}
        self._draws = draws
        self.drawn: list[tuple[int, int]] = []  # number drawn, and out of how many
        self._translated = self._masqueraded = False
        self._rules: list[tuple[str, int]] = []
        self._known = affinity
        self._affinity = dict(affinity)

    def outcome(self) -> Outcome:
        end: End = "goes on"
        for hook in self._hooks():
            end = ENDS[self._hook(hook)]
            if end != "goes on":
                break
        packet = self._packet
        new = {key: slot for key, slot in self._affinity.items() if self._known.get(key) != slot}
        return Outcome(
            end=end,
            destination=packet.destination,
            port=packet.port,
            masqueraded=self._masqueraded,
            mark=packet.mark,
            priority=packet.priority,
            remembered=tuple(sorted((number, client, slot) for (number, client), slot in new.items())),
            rules=tuple(self._rules),
        )

    def _hooks(self) -> Iterator[str]:
        """As the kernel calls them; which way is known only once the destination is."""
        if self._around.from_here:
            yield "output"
        else:
            yield "prerouting"
            if self._packet.destination in self._around.addresses:
                yield "input"
                return
            yield "forward"
        yield "postrouting"

    def _hook(self, hook: str) -> str:
        """The verdict of all base chains of a hook, by priority; "accept" where nobody objects."""
        chains = [
            (chain.hook.priority, chain) for chain in self._table.chains if chain.hook and chain.hook.hook == hook
        ]
        for _, chain in sorted(chains, key=_priority):
            try:
                self._chain(chain)
            except _Verdict as verdict:
                if verdict.text != "accept":
                    return verdict.text
        return "accept"

    def _chain(self, chain: Chain) -> None:
        """Run a chain; returns at its end or at `return`, raises the verdict of anything final."""
        for place, rule in enumerate(chain.rules):
            if not rule.statements:
                raise UnknownRuleError(f"chain {chain.name}: {rule.comment}")
            if not all(self._statement(statement) for statement in rule.statements[:-1]):
                continue
            last = rule.statements[-1]
            if not self._statement(last):
                continue
            self._rules.append((chain.name, place))
            if last == Word("return"):
                return
            if isinstance(last, Word):
                self._finish(last)
            if isinstance(last, Translate):
                raise _Verdict("accept")
            way = self._way(last)
            if way is not None:
                self._chain(self._chains[way[1]])
                if way[0] == "goto":
                    return

    def _statement(self, statement: Statement) -> bool:
        """Do it; whether the rule goes on after it."""
        match statement:
            case Compare():
                return self._compare(statement)
            case Member():
                return self._lookup(statement.set, statement.key) is not None
            case Change():
                keep = 0xFFFFFFFF if statement.keep is None else statement.keep
                return self._put(statement.field, self._number(Field(statement.field)) & keep | (statement.add or 0))
            case Put():
                return self._put(statement.field, statement.number)
            case Fetch():
                value = self._lookup(statement.map, statement.key)
                return value is not None and self._put(statement.field, layout.unpack_number(value))
            case Remember() | Forget():
                return self._update(statement)
            case Translate():
                return self._translate(statement)
            case Word(text="reject with tcp reset"):
                return self._packet.protocol == "TCP"
            case Dispatch():
                return self._way(statement) is not None
            case Go() | Word():
                return True

    def _way(self, statement: Statement) -> Way:
        if isinstance(statement, Go):
            return statement.verb, statement.chain
        if isinstance(statement, Dispatch):
            chain = dict(statement.ways).get(self._number(statement.left))
            return None if chain is None else ("goto", chain)
        return None

    def _finish(self, word: Word) -> None:
        if word.text == "masquerade fully-random":
            self._masqueraded = True
            raise _Verdict("accept")
        raise _Verdict(word.text)

    def _update(self, statement: Remember | Forget) -> bool:
        client = self._client(statement.key)
        if isinstance(statement, Remember):
            self._affinity.setdefault(client, self._number(Field(statement.field)))
        else:
            self._affinity.pop(client, None)
        return True

    def _put(self, field: str, number: int) -> bool:
        self._packet = msgspec.structs.replace(self._packet, **{field.removeprefix("meta "): number})
        return True

    def _translate(self, statement: Translate) -> bool:
        value = self._lookup(statement.map, statement.key)
        if value is None:
            return False
        address, port = layout.unpack(SETS_BY_NAME[statement.map].data, value, self._table.family)
        self._packet = msgspec.structs.replace(self._packet, destination=address, port=port)
        self._translated = True
        return True

    def _compare(self, compare: Compare) -> bool:
        if isinstance(compare.left, Masked):
            found = any(self._number(compare.left) == int(value, 0) for value in compare.values)
        else:
            found = any(self._is(compare.left.name, value) for value in compare.values)
        return found != compare.negated

    def _is(self, field: str, value: str) -> bool:
        packet, around = self._packet, self._around
        match field.removeprefix(self._table.family).strip():
            case "saddr":
                return ip_address(packet.source) in ip_network(value)
            case "daddr":
                return ip_address(packet.destination) in ip_network(value)
            case "iifname":
                name = value.strip('"')
                return packet.interface.startswith(name[:-1]) if name.endswith("*") else packet.interface == name
            case "meta l4proto":
                return packet.protocol.lower() == value
            case "ct state":
                return value == "new"
            case "ct status":
                return value == "dnat" and self._translated
            case "fib daddr type":
                return value == "local" and packet.destination in around.addresses
            case "fib saddr type":
                return value == "local" and packet.source in around.addresses
        raise UnknownRuleError(f"{field} {value}")

    def _number(self, part: Field | Masked) -> int:
        packet = self._packet
        number = packet.mark if part.name == "meta mark" else packet.priority
        return number & part.mask if isinstance(part, Masked) else number

    def _client(self, key: Key) -> tuple[int, str]:
        number, _ = key.parts
        if not isinstance(number, Field | Masked):
            raise UnknownRuleError(str(key))
        return self._number(number), self._packet.source

    def _lookup(self, name: str, key: Key) -> bytes | None:
        if name == "affinity":
            slot = self._affinity.get(self._client(key))
            return None if slot is None else layout.pack_number(slot)
        packed = b"".join(map(self._part, key.parts))
        elements = self._elements.get(name, {})
        if SETS_BY_NAME[name].interval:
            return next((value for each, value in elements.items() if _within(SETS_BY_NAME[name], each, packed)), None)
        return elements.get(packed)

    def _part(self, part: Part) -> bytes:
        packet = self._packet
        if isinstance(part, Random):
            return layout.pack_number(self._draw(part.modulus))
        if isinstance(part, Hashed):
            raise UnknownRuleError(str(part))
        match part.name.removeprefix(self._table.family).strip():
            case "saddr":
                return layout.pack_address(packet.source)
            case "daddr":
                return layout.pack_address(packet.destination)
            case "meta l4proto":
                return bytes((layout.PROTOCOLS[packet.protocol], 0, 0, 0))
            case "th dport":
                return layout.pack_port(packet.port)
        return layout.pack_number(self._number(part))

    def _draw(self, modulus: int) -> int:
        place = len(self.drawn)
        number = self._draws[place] if place < len(self._draws) else 0
        self.drawn.append((number, modulus))
        return number


def _priority(item: tuple[int, Chain]) -> int:
    return item[0]


def _within(where: SetLayout, element: bytes, key: bytes) -> bool:
    """Whether a key is in a range, field by field."""
    half = len(element) // 2
    first, last = element[:half], element[half:]
    others = sum(field != "address" for field in where.key)
    address = (half - 4 * others) // (len(where.key) - others)
    offset = 0
    for field in where.key:
        size = address if field == "address" else 4
        if not first[offset : offset + size] <= key[offset : offset + size] <= last[offset : offset + size]:
            return False
        offset += size
    return True
