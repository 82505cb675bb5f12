"""Ways to damage iptables rules, for the modes whose rules they are."""

from collections.abc import Iterable, Iterator, Mapping

from clew.base.xtables import parse

Rules = Mapping[str, Mapping[str, tuple[str, ...]]]


def rule_mutations(rules: Rules) -> Iterator[tuple[str, Rules]]:
    """Each rule left out; each condition of a rule left out."""
    for table, chains in rules.items():
        for chain, listed in chains.items():
            for place, rule in enumerate(listed):
                rest = (*listed[:place], *listed[place + 1 :])
                yield f"{table} {chain}: {rule}", {**rules, table: {**chains, chain: rest}}
                for without in fewer_conditions(rule):
                    other = (*listed[:place], without, *listed[place + 1 :])
                    yield f"{table} {chain}: {rule} as {without}", {**rules, table: {**chains, chain: other}}


def fewer_conditions(rule: str) -> Iterable[str]:
    """The rule without one of its conditions, for each of them."""
    parsed = parse(rule)
    head, _, target = rule.partition("-j ")
    for option in parsed.conditions:
        if option.module in {"comment", "conntrack"}:
            continue
        if option.name == "-p" and any(each.name == "--dport" for each in parsed.conditions):
            continue  # no rule without it
        words = f"{'! ' if option.negated else ''}{option.name} {option.value} "
        module = f"-m {option.module} " if option.module else ""
        for spelt in (f"{module}{words}", f"{words}"):
            if spelt in head:
                yield f"{head.replace(spelt, '', 1)}-j {target}"
                break
