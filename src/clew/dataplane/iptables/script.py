"""From what differs to a text for `iptables-restore --noflush`. Pure; called by dataplane/iptables/apply."""

from collections.abc import Mapping

from clew.base.xtables import Ruleset
from clew.dataplane.iptables.objects import (
    BUILT_IN,
    FIREWALL,
    HUBS,
    IPVS_SIGNS,
    KUBELET_SIGN,
    SERVICES,
    SHARED,
    ChainKey,
    Place,
    RuleKey,
    TableName,
    ours,
    target,
)
from clew.dataplane.iptables.programme import HUB, TABLES, Programme


def script(programme: Programme) -> str:
    """What makes the tables as they are wanted; "" where they are so."""
    return "".join(_table(programme, table) for table in TABLES)


def _table(programme: Programme, table: TableName) -> str:
    chains, lines = programme.chains, programme.lines
    written = {key: rules for key, rules in chains.updates.items() if key[0] == table}
    gone = sorted(key for key in chains.deletions if key[0] == table)
    anew = {key for key in written if written[key] is HUB} | _worth_rewriting(programme, table)
    declared = dict.fromkeys([*written, *gone, *sorted(anew)])
    away = [
        f"-D {chain} {text}"
        for key in [*lines.updates, *lines.deletions]
        for where, chain, text in (key,)
        if where == table and (where, chain) not in anew
        for _ in range(lines.actual[key].times if key in lines.actual else 0)
    ]
    rules = [f"-A {chain} {text}" for (_, chain), texts in written.items() if texts is not HUB for text in texts]
    rules += [_put(key, place) for key, place in _to_put(programme, table, anew)]
    body = [
        *(f":{chain} - [0:0]" for _, chain in declared),
        *away,
        *rules,
        *(f"-X {chain}" for _, chain in gone),
    ]
    return "\n".join([f"*{table}", *body, "COMMIT", ""]) if body else ""


def _worth_rewriting(programme: Programme, table: TableName) -> set[ChainKey]:
    """Hubs from which more goes than stays: each single deletion costs a walk through the hub."""
    going: dict[ChainKey, int] = {}
    for where, chain, _ in programme.lines.deletions:
        if where == table and (where, chain) in HUBS:
            going[where, chain] = going.get((where, chain), 0) + 1
    many = {key: number for key, number in going.items() if number > 1}
    staying = dict.fromkeys(many, 0)
    for where, chain, _ in programme.lines.desired if many else ():
        if (where, chain) in staying:
            staying[where, chain] += 1
    return {key for key, number in many.items() if number > staying[key]}


def _to_put(programme: Programme, table: TableName, anew: set[ChainKey]) -> list[tuple[RuleKey, Place]]:
    lines = programme.lines
    rows = [(key, place) for key, place in lines.updates.items() if key[0] == table]
    if anew:
        rows = [row for row in rows if row[0][:2] not in anew]
        rows += [(key, place) for key, place in lines.desired.items() if key[:2] in anew]
    return rows


def _put(key: RuleKey, place: Place) -> str:
    _, chain, text = key
    return f"-{'I' if place.end == 'head' else 'A'} {chain} {text}"


def going(found: Ruleset) -> set[ChainKey]:
    """The chains that go when everything of ours does.

    Not those that others use: chains to which theirs lead, those of the mode ipvs, and the kubelet's.
    """
    services = found.get("nat", {}).get(SERVICES, ())
    kept = set(SHARED) if any(sign in rule for rule in services for sign in IPVS_SIGNS) else set()
    if KUBELET_SIGN[1] in found.get(KUBELET_SIGN[0], {}):
        kept.add(("filter", FIREWALL))
    return {
        (table, chain)
        for table in TABLES
        for chain in found.get(table, {}).keys() - _needed(table, found.get(table, {}))
        if ours(table, chain) and (table, chain) not in kept
    }


def removal(found: Ruleset) -> str:
    """What takes everything of ours away."""
    text, gone = "", going(found)
    for table in TABLES:
        chains = found.get(table, {})
        mine = [chain for chain in chains if (table, chain) in gone]
        body = [f":{chain} - [0:0]" for chain in mine]
        body += [
            f"-D {chain} {rule}"
            for chain, rules in chains.items()
            if chain in BUILT_IN
            for rule in rules
            if target(rule) in mine
        ]
        body += [f"-X {chain}" for chain in mine]
        text += "\n".join([f"*{table}", *body, "COMMIT", ""]) if body else ""
    return text


def _needed(table: str, chains: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Chains of ours to which chains of others lead, straight or through each other."""
    waiting = [
        target(rule)
        for chain, rules in chains.items()
        if chain not in BUILT_IN and not ours(table, chain)
        for rule in rules
    ]
    needed: set[str] = set()
    while waiting:
        chain = waiting.pop()
        if chain in chains and ours(table, chain) and chain not in needed:
            needed.add(chain)
            waiting += [target(rule) for rule in chains[chain]]
    return needed
