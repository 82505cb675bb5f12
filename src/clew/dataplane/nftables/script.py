"""The nft commands that lead from one structure of the table to another, as one transaction. Pure."""

from collections.abc import Iterator

from clew.dataplane.nftables.objects import Chain, Table


def create(table: Table) -> list[str]:
    """Everything from nothing."""
    where = f"{table.family} {table.name}"
    commands = [f'add table {where} {{ comment "{table.comment}"; }}']
    commands += [f"add {each.kind} {where} {each.name} {{ {'; '.join(each.body)}; }}" for each in table.sets]
    commands += [_declare(where, chain) for chain in table.chains]
    for chain in table.chains:
        commands += _rules(where, chain)
    return commands


def replace(table: Table) -> list[str]:
    """Everything anew, whatever is there, elements included: for when sets are declared otherwise."""
    where = f"{table.family} {table.name}"
    return [f"add table {where}", f"delete table {where}", *create(table)]


def is_other(found: Table, wanted: Table) -> bool:
    """Whether the table that is there has other sets: another release's, which `change` cannot lead from.

    Sets are compared by name, and by the layout that the comment names: how nft prints a declaration is its own affair.
    """
    return found.comment != wanted.comment or _names(found) != _names(wanted)


def _names(table: Table) -> set[tuple[str, str]]:
    return {(each.kind, each.name) for each in table.sets}


def change(found: Table, wanted: Table) -> list[str]:
    """From what is there to what should be, touching nothing that is right; nothing to do gives no command."""
    where = f"{wanted.family} {wanted.name}"
    there = {chain.name: chain for chain in found.chains}
    new = [chain for chain in wanted.chains if there.get(chain.name) != chain]
    hooked = [chain for chain in new if chain.name in there and there[chain.name].hook != chain.hook]
    gone = there.keys() - {chain.name for chain in wanted.chains}
    commands = [f"flush chain {where} {chain.name}" for chain in new if chain.name in there]
    commands += [f"delete chain {where} {chain.name}" for chain in hooked]
    commands += [_declare(where, chain) for chain in new if chain in hooked or chain.name not in there]
    for chain in new:
        commands += _rules(where, chain)
    commands += [f"flush chain {where} {name}" for name in sorted(gone)]
    commands += [f"delete chain {where} {name}" for name in sorted(gone)]
    return commands


def _declare(where: str, chain: Chain) -> str:
    return f"add chain {where} {chain.name}" + (f" {{ {chain.hook} }}" if chain.hook else "")


def _rules(where: str, chain: Chain) -> Iterator[str]:
    return (f"add rule {where} {chain.name} {rule}" for rule in chain.rules)
