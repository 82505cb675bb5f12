"""From a rule, or from what became of a packet, back to the Service it is there for, and one sentence on it. Pure.

It reads what is in the kernel and nothing else: the Service stands in the rule's comment, or, where a large cluster's
rules have none, in the comments of the rules that lead to its chain.
"""

from collections.abc import Iterable, Mapping

from clew.base.value import Value
from clew.base.xtables import Ruleset, parse
from clew.dataplane.iptables.objects import MARK_MASQ, OF_SERVICES, ours, target
from clew.dataplane.iptables.simulate import Outcome


class Explanation(Value):
    origin: str  # "Service default/web:http"; "" where all services share the rule
    sentence: str


SENTENCES = {
    "KUBE-SVC-": "one of all its backends, by chance",
    "KUBE-SVL-": "one of its backends on this node, by chance",
    "KUBE-EXT-": "what comes to an address from outside",
    "KUBE-FW-": "only some sources may use this load balancer address",
}


class Explainer:
    def __init__(self, tables: Ruleset) -> None:
        self._tables = tables
        self._origins = _origins(tables)

    def rows(self) -> list[tuple[str, str, str]]:
        """Table, chain and rule of everything that services added, in order."""
        return [
            (table, chain, rule)
            for table in ("nat", "filter")
            for chain, rules in sorted(self._tables.get(table, {}).items())
            for rule in (rules if _owned(chain) else sorted(filter(_named, rules)))
            if ours(table, chain)
        ]

    def rule(self, chain: str, rule: str) -> Explanation:
        """What one rule is there for."""
        origin = self._origins.get(chain) or _named(rule)
        service = f"Service {origin}" if origin else ""
        parsed = parse(rule)
        to = next((each.value for each in parsed.arguments if each.name == "--to-destination"), "")
        if to:
            return Explanation(service, f"this is the backend {to}")
        if parsed.target == MARK_MASQ:
            return Explanation(service, "leaves with the node's own address, so that the answer comes back this way")
        if parsed.target in {"DROP", "REJECT"}:
            why = next((each.value for each in parsed.conditions if each.name == "--comment"), "")
            return Explanation(service, f"{'dropped' if parsed.target == 'DROP' else 'refused'}: {why}")
        kind = next((start for start in SENTENCES if parsed.target.startswith(start)), "")
        if kind:
            return Explanation(service, SENTENCES[kind])
        return Explanation(service, f"goes to {parsed.target or 'the next rule'}")

    def packet(self, outcome: Outcome) -> list[str]:
        """The rules that decided on a packet, in order, as iptables-save prints them."""
        return list(outcome.rules)


def _named(rule: str) -> str:
    """The service port that a rule's comment begins with, or speaks of; "" where it speaks of none."""
    for option in parse(rule).conditions:
        if option.name == "--comment":
            return next((word for word in option.value.split() if "/" in word), "")
    return ""


def _origins(tables: Ruleset) -> Mapping[str, str]:
    """The service port of each chain: told by its rules, or by those that lead to it."""
    chains = tables.get("nat", {})
    origins = {chain: next(filter(None, map(_named, rules)), "") for chain, rules in chains.items() if _owned(chain)}
    waiting: Iterable[str] = list(chains)
    for chain in waiting:
        for rule in chains[chain]:
            to = target(rule)
            if to in origins and not origins[to]:
                origins[to] = origins.get(chain, "") or _named(rule)
    return origins


def _owned(chain: str) -> bool:
    return chain.startswith(OF_SERVICES)
