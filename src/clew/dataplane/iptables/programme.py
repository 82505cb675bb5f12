"""What one family's tables should hold of ours, kept service by service beside what they do hold.

Pure state: load balancing comes in per service, a script for `iptables-restore --noflush` comes out (`script`), which
names only chains and rules that differ. Wanting everything from empty ends in the same chains as any sequence of
single changes; the order of rules in a hub says nothing, but for its tail.
"""

from collections.abc import Iterable, Mapping

from clew.base.value import Value
from clew.base.xtables import Ruleset
from clew.dataplane.iptables.objects import (
    BUILT_IN,
    FIREWALL,
    HEAD,
    HUBS,
    TAIL,
    ChainKey,
    Place,
    RuleKey,
    TableName,
    ours,
    target,
)
from clew.dataplane.iptables.render import contribution
from clew.dataplane.iptables.rules import fixed_chains, jumps, tails
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.reconcile import DeltaMap

Owner = tuple[str, str]
LARGE = 1000  # endpoints; with more than these rules of endpoints carry no comment, as kube-proxy has it
TABLES: tuple[TableName, ...] = ("mangle", "filter", "nat")
HUB: tuple[str, ...] = ("what services add",)  # stands for the rules of a hub, which are kept one by one


class _Part(Value):
    """What one service wants."""

    balancers: tuple[Balancer, ...]
    chains: Mapping[ChainKey, tuple[str, ...]]
    lines: tuple[RuleKey, ...]
    endpoints: int


NOTHING = _Part((), {}, (), 0)


class Programme:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.chains: DeltaMap[ChainKey, tuple[str, ...]] = DeltaMap()
        self.lines: DeltaMap[RuleKey, Place] = DeltaMap()
        self._parts: dict[Owner, _Part] = {}
        self._fixed: tuple[Mapping[ChainKey, tuple[str, ...]], Mapping[RuleKey, Place]] = {}, {}
        self._endpoints = 0
        self._comments = True
        self._settle()

    def want(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """These services are to be so from now on (no balancers: not at all)."""
        mine = {
            owner: tuple(each for each in balancers if each.family == self.settings.family)
            for owner, balancers in changes.items()
        }
        known = sum(self._parts.get(owner, NOTHING).endpoints for owner in mine)
        self._endpoints += sum(_endpoints(each) for balancers in mine.values() for each in balancers) - known
        if self._comments == (self._endpoints > LARGE):
            self._comments = not self._comments
            mine = {owner: part.balancers for owner, part in self._parts.items()} | mine
        self._want(mine)

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family; every rule may depend on them, but for the ranges."""
        renew, self.settings = settings.of_services != self.settings.of_services, settings
        if renew:
            self._settle()
            self._want({owner: part.balancers for owner, part in self._parts.items()})

    def found(self, ruleset: Ruleset) -> None:
        """All tables as they were read back."""
        chains: dict[ChainKey, tuple[str, ...]] = {}
        lines: dict[RuleKey, Place] = {}
        guarded = ("filter", FIREWALL) in self.chains.desired  # else it is the kubelet's alone
        behind = {text for _, _, text in tails(self.settings)}
        for table in TABLES:
            for chain, rules in ruleset.get(table, {}).items():
                key = (table, chain)
                if chain in BUILT_IN:
                    mine = [each for each in rules if ours(table, target(each))]
                    mine = [each for each in mine if guarded or target(each) != FIREWALL]
                elif ours(table, chain) and (guarded or chain != FIREWALL):
                    chains[key] = HUB if key in HUBS else rules
                    mine = list(rules) if key in HUBS else []
                else:
                    continue
                for at, each in enumerate(mine):
                    last = each in behind and all(other in behind for other in mine[at:])
                    before = lines.get((*key, each))
                    lines[*key, each] = Place("tail" if last else "head", before.times + 1 if before else 1)
        self.chains.found_whole(chains)
        self.lines.found_whole(lines)

    def done(self) -> None:
        """The kernel took the script."""
        self.chains.done_whole()
        self.lines.done_whole()

    def wanted(self) -> Ruleset:
        """The tables as they should be, as far as they are ours."""
        tables: dict[str, dict[str, list[str]]] = {table: {} for table in TABLES}
        for (table, chain), rules in self.chains.desired.items():
            tables[table].setdefault(chain, []).extend(() if rules is HUB else rules)
        for at in (HEAD, TAIL):
            for (table, chain, text), place in self.lines.desired.items():
                if place == at:
                    tables[table].setdefault(chain, []).append(text)
        return {table: {chain: tuple(rules) for chain, rules in chains.items()} for table, chains in tables.items()}

    def sizes(self) -> dict[TableName, int]:
        """Rules that are wanted, by table."""
        total = dict.fromkeys(TABLES, 0)
        for (table, _), rules in self.chains.desired.items():
            total[table] += 0 if rules is HUB else len(rules)
        for table, _, _ in self.lines.desired:
            total[table] += 1
        return total

    def _settle(self) -> None:
        chains = {**fixed_chains(self.settings), **dict.fromkeys(sorted(HUBS), HUB)}
        lines = {**dict.fromkeys(jumps(self.settings), HEAD), **dict.fromkeys(tails(self.settings), TAIL)}
        for gone in self._fixed[0].keys() - chains.keys():
            self.chains.want(gone, None)
        for line in self._fixed[1].keys() - lines.keys():
            self.lines.want(line, None)
        for key, rules in chains.items():
            self.chains.want(key, rules)
        for line, place in lines.items():
            self.lines.want(line, place)
        self._fixed = chains, lines

    def _want(self, changes: Mapping[Owner, tuple[Balancer, ...]]) -> None:
        parts = {owner: self._part(balancers) for owner, balancers in changes.items()}
        for owner, part in parts.items():  # first everybody lets go, since addresses may move between services
            before = self._parts.get(owner, NOTHING)
            for chain in before.chains.keys() - part.chains.keys():
                self.chains.want(chain, None)
            for line in set(before.lines).difference(part.lines):
                self.lines.want(line, None)
        for owner, part in parts.items():
            for key, rules in part.chains.items():
                self.chains.want(key, rules)
            for line in part.lines:
                self.lines.want(line, HEAD)
            if part.balancers:
                self._parts[owner] = part
            else:
                self._parts.pop(owner, None)

    def _part(self, balancers: tuple[Balancer, ...]) -> _Part:
        chains: dict[ChainKey, tuple[str, ...]] = {}
        lines: list[RuleKey] = []
        for balancer in balancers:
            one = contribution(balancer, self.settings, comments=self._comments)
            chains.update(one.chains)
            lines += one.lines
        return _Part(balancers, chains, tuple(lines), sum(map(_endpoints, balancers)))


def _endpoints(balancer: Balancer) -> int:
    return len(balancer.cluster or balancer.local)
