"""What one family's table should hold, kept service by service beside what it does hold.

Pure state: load balancing comes in per service, a difference comes out per set; dataplane/nftables/apply carries it
out. Wanting everything from empty ends in the same elements as any sequence of single changes, but for the numbers of
sets, which are given in order of appearance.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from clew.dataplane.nftables import layout
from clew.dataplane.nftables.layout import KEPT, SETS, STICKY, WAY_BITS, WAY_MASK
from clew.dataplane.nftables.objects import Dispatch, Table
from clew.dataplane.nftables.render import Elements, contribution
from clew.dataplane.nftables.rules import read_way_chain, structure
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.reconcile import Claims, DeltaMap
from clew.reconcile.numbers import Numbers

Owner = tuple[str, str]
SHARED = ("cluster-ips", "hairpin")  # sets in which several services may want the same element
RANGES = "service-ranges"
NAMED = (
    "service-ips",
    "external-ips",
    "local-external-ips",
    "local-endpoints",
    "node-ports",
    "local-node-ports",
    "local-node-port-endpoints",
)  # fmt: skip  maps whose comments say which set of backends a number stands for


class _Part:
    """What one service has in the table."""

    def __init__(self, elements: Elements, sets: Sequence[str], ways: Sequence[str]) -> None:
        self.elements, self.sets, self.ways = elements, sets, ways


NOTHING = _Part({}, (), ())


class Programme:
    def __init__(self, settings: Settings, table: str = layout.TABLE) -> None:
        self.settings, self._table = settings, table
        self.deltas: dict[str, DeltaMap[bytes, bytes]] = {each.name: DeltaMap() for each in KEPT}
        self.sets = Numbers(1, SETS)
        self._sticky_ways = Numbers(STICKY, WAY_MASK + 1)
        self._ways: Counter[str] = Counter()  # chain of a way: services that use it
        self._structure: tuple[dict[int, str], Table] | None = None
        self._parts: dict[Owner, _Part] = {}
        self._shared: dict[str, Claims[Owner, bytes, bytes]] = {name: Claims() for name in SHARED}
        self._settle()

    def want(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """These services are to be so from now on (no balancers: not at all)."""
        parts = {owner: self._render(balancers) for owner, balancers in changes.items()}
        for owner, part in parts.items():  # first everybody lets go, since keys may move from one service to another
            self._let_go(self._parts.get(owner, NOTHING), part)
        for owner, part in parts.items():
            self._take(owner, self._parts.get(owner, NOTHING), part)
            for name in set(self._parts.get(owner, NOTHING).sets).difference(part.sets):
                self.sets.release(name)
            if part.elements:
                self._parts[owner] = part
            else:
                self._parts.pop(owner, None)

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family: rules change, and which ranges there are; services' elements do not."""
        if settings.of_services != self.settings.of_services:
            self._structure = None
        self.settings = settings
        self._settle()

    def _settle(self) -> None:
        self.deltas[RANGES].want_whole({layout.pack_range(each): b"" for each in self.settings.service_cidrs})

    def structure(self) -> Table:
        """The table with its rules, for the ways that are in use."""
        ways = self.ways()
        if self._structure is None or self._structure[0] != ways:
            self._structure = ways, structure(self.settings, ways, self._table)
        return self._structure[1]

    def ways(self) -> dict[int, str]:
        """The number of each way in use, and its chain."""
        return {self._number(chain): chain for chain in self._ways}

    def retire_ways(self) -> None:
        """Forget the ways that no service uses any more; their chains go with the next structure."""
        for chain in [chain for chain, uses in self._ways.items() if not uses]:
            del self._ways[chain]
            self._sticky_ways.release(chain)

    def adopt(self, found: Mapping[str, Mapping[bytes, bytes]], table: Table | None) -> None:
        """Take over the numbers that the kernel's own elements and rules have; before anything is wanted."""
        for name in NAMED:
            for value in found.get(name, {}).values():
                number = layout.unpack_number(value) >> WAY_BITS
                if number:
                    self.sets.adopt(value[4:].decode(errors="replace"), number)
        for number, chain in _dispatched(table):
            if number >= STICKY:
                self._sticky_ways.adopt(chain, number)
            if read_way_chain(chain) is not None and self._number(chain) == number:
                self._ways[chain] += 0

    def found(self, found: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Every set as it was read back."""
        for name, delta in self.deltas.items():
            delta.found_whole(found.get(name, {}))

    def wanted(self) -> Elements:
        """All elements that should be in the kernel, by set."""
        return {name: dict(delta.desired) for name, delta in self.deltas.items()}

    def _number(self, chain: str) -> int:
        number = self._sticky_ways.get(chain)
        if number is None:
            read = read_way_chain(chain)
            number = read[0] if read else 0
        return number

    def _render(self, balancers: Iterable[Balancer]) -> _Part:
        elements: Elements = {}
        sets: list[str] = []
        ways: list[str] = []
        for balancer in balancers:
            if balancer.family == self.settings.family:
                one = contribution(balancer, self.sets, self._sticky_ways)
                for name, entries in one.elements.items():
                    elements.setdefault(name, {}).update(entries)
                sets += one.sets
                ways += one.ways
        return _Part(elements, sets, ways)

    def _let_go(self, before: _Part, after: _Part) -> None:
        for name, entries in before.elements.items():
            if name not in SHARED:
                delta, kept = self.deltas[name], after.elements.get(name, {})
                for key in entries:
                    if key not in kept:
                        delta.want(key, None)
        for chain in before.ways:
            self._ways[chain] -= 1

    def _take(self, owner: Owner, before: _Part, after: _Part) -> None:
        for name, entries in after.elements.items():
            if name not in SHARED:
                delta, known = self.deltas[name], before.elements.get(name, {})
                for key, value in entries.items():
                    if known.get(key) != value:
                        delta.want(key, value)
        for name, claims in self._shared.items():
            wanted = after.elements.get(name, {})
            if wanted or name in before.elements:
                for key in claims.claim(owner, wanted):
                    held = claims.get(key)
                    self.deltas[name].want(key, None if held is None else held[1])
        for chain in after.ways:
            self._ways[chain] += 1


def _dispatched(table: Table | None) -> Iterable[tuple[int, str]]:
    """Numbers and chains in the rule that leads from a way to its chain."""
    for chain in table.chains if table else ():
        for rule in chain.rules:
            for statement in rule.statements:
                if isinstance(statement, Dispatch):
                    yield from statement.ways
