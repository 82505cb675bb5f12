"""iptables without a kernel: the tests' half of the port, held to the real one by the same suite.

It refuses what iptables-restore refuses: unknown tables and chains, words that are none, sets that are not there,
chains taken away while a rule leads to them. Rules are kept as they were written, so they must be written as they are
printed.
"""

import errno
from collections.abc import Callable, Collection, Mapping, Sequence

from clew.base.addresses import Family
from clew.base.xtables.rules import parse
from clew.kernel.iptables.port import IptablesError

BUILT_IN = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
}
ANYWHERE = {"ACCEPT", "DROP", "RETURN", "MARK", "LOG", "CONNMARK", ""}
ONLY_IN = {"DNAT": "nat", "REDIRECT": "nat", "MASQUERADE": "nat", "REJECT": "filter"}
Chains = dict[str, list[str]]


class FakeIptables:
    """`sets` says which ipsets there are; None: rules may name any."""

    def __init__(self, sets: Callable[[], Collection[str]] | None = None) -> None:
        self._sets = sets
        self.families: dict[Family, dict[str, Chains]] = {4: {}, 6: {}}
        self.writes = 0  # scripts that were taken
        self.elsewhere: list[FakeIptables] = []  # the tables of the other kind of programs

    def close(self) -> None:
        """Nothing is held."""

    def kinds(self) -> Sequence["FakeIptables"]:
        return [self, *self.elsewhere]

    def others(self) -> Sequence["FakeIptables"]:
        return self.elsewhere

    def tables(self, family: Family) -> Collection[str]:
        return set(self.families[family])

    def met(self, family: Family, table: str, chain: str) -> Mapping[str, int]:
        return dict.fromkeys(self.families[family].get(table, {}).get(chain, ()), 0)

    def save(self, family: Family, table: str) -> str:
        if table not in self.families[family]:
            return ""
        chains = self.families[family][table]
        lines = [f":{chain} {'ACCEPT' if chain in BUILT_IN[table] else '-'} [0:0]" for chain in chains]
        lines += [f"-A {chain} {rule}".rstrip() for chain, rules in chains.items() for rule in rules]
        return "\n".join([f"*{table}", *lines, "COMMIT", ""])

    def restore(self, family: Family, script: str) -> None:
        table = ""
        chains: Chains = {}
        for line in script.splitlines():
            if line.startswith("*"):
                table = line[1:]
                if table not in BUILT_IN:
                    raise _refused(f"there is no table {table}")
                there = self.families[family].get(table) or {chain: [] for chain in BUILT_IN[table]}
                chains = {chain: list(rules) for chain, rules in there.items()}
            elif line == "COMMIT":
                self._check(table, chains)
                self.families[family][table] = chains
            else:
                _change(chains, table, line)
        self.writes += 1

    def _check(self, table: str, chains: Chains) -> None:
        for rule in (rule for rules in chains.values() for rule in rules):
            parsed = parse(rule)
            elsewhere = ONLY_IN.get(parsed.target, table) != table
            known = parsed.target in chains or parsed.target in ANYWHERE or parsed.target in ONLY_IN
            if elsewhere or not known or (table == "nat" and parsed.target == "DROP"):
                raise _refused(f"target {parsed.target} cannot be used in table {table}")
            for option in parsed.conditions:
                if (
                    option.name == "--match-set"
                    and self._sets is not None
                    and option.value.split()[0] not in self._sets()
                ):
                    raise _refused(f"set {option.value.split()[0]} doesn't exist")


def _change(chains: Chains, table: str, line: str) -> None:
    if line.startswith(":"):
        chain = line[1:].split(maxsplit=1)[0]
        if chain not in BUILT_IN[table]:
            chains[chain] = []
        return
    command, chain, *rest = line.split(" ", 2)
    if chain not in chains:
        raise _refused(f"no chain {chain} in table {table}")
    rules = chains[chain]
    rule = rest[0] if rest else ""
    match command:
        case "-A":
            rules.append(rule)
        case "-I":
            rules.insert(0, rule)
        case "-F":
            rules.clear()
        case "-D" if rule in rules:
            rules.remove(rule)
        case "-X" if not rules and not any(parse(each).target == chain for them in chains.values() for each in them):
            del chains[chain]
        case _:
            raise _refused(f"line failed: {line}")


def _refused(detail: str) -> IptablesError:
    return IptablesError(errno.EINVAL, "change rules", detail=detail)
