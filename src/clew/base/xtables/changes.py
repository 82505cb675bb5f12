"""From the chains that are wanted and those that are there to a script for `iptables-restore --noflush`.

A chain that differs is written anew whole; chains that nobody wanted are not looked at. One table is one transaction.
"""

from collections.abc import Iterable, Mapping

from clew.base.value import Value
from clew.base.xtables.rules import Chains, Ruleset, parse


class Jump(Value):
    """A rule of ours in a chain of the kernel's own, put at its head."""

    table: str
    chain: str
    rule: str


class Wanted(Value):
    chains: Mapping[str, Chains]  # by table
    jumps: tuple[Jump, ...]


def change(wanted: Wanted, found: Ruleset) -> str:
    """What to restore so that chains and jumps are as wanted; "" where they are."""
    script = ""
    for table, chains in wanted.chains.items():
        here = found.get(table, {})
        differ = {chain: rules for chain, rules in chains.items() if here.get(chain) != rules}
        lines = [f":{chain} - [0:0]" for chain in differ]
        lines += [f"-A {chain} {rule}".rstrip() for chain, rules in differ.items() for rule in rules]
        for jump in reversed(wanted.jumps):  # each is put before those that are there
            if jump.table == table and jump.rule not in here.get(jump.chain, ()):
                lines.append(f"-I {jump.chain} {jump.rule}")
        script += _transaction(table, lines)
    return script


def with_jumps(wanted: Wanted) -> Ruleset:
    """The chains as if they alone were in the kernel, reached from its own chains."""
    tables = {table: {chain: tuple(each) for chain, each in chains.items()} for table, chains in wanted.chains.items()}
    for jump in wanted.jumps:
        tables[jump.table][jump.chain] = (*tables[jump.table].get(jump.chain, ()), jump.rule)
    return tables


def removal(owned: Mapping[str, Iterable[str]], found: Ruleset) -> str:
    """What to restore so that these chains (by table) and every rule that leads to them are gone; "" where none is."""
    script = ""
    for table, chains in owned.items():
        here = found.get(table, {})
        mine = [chain for chain in chains if chain in here]
        lines = [
            f"-D {chain} {rule}"
            for chain, rules in here.items()
            if chain not in mine
            for rule in rules
            if parse(rule).target in mine
        ]
        lines += [f":{chain} - [0:0]" for chain in mine]
        lines += [f"-X {chain}" for chain in mine]
        script += _transaction(table, lines)
    return script


def _transaction(table: str, lines: list[str]) -> str:
    return "\n".join([f"*{table}", *lines, "COMMIT", ""]) if lines else ""
