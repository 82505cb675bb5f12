"""iptables in the scenarios."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from clew.base.xtables import Ruleset, read
from clew.dataplane.iptables.explain import Explainer
from clew.dataplane.iptables.programme import TABLES, Programme
from clew.dataplane.iptables.simulate import simulate
from clew.ir.packets import Outcome, Packet, Surroundings
from clew.ir.proxying import Settings
from clew.kernel.iptables import KernelIptables

from .protocol import Balancings, Known

CONDITIONS = re.compile(
    r"(?:! )?-[sdi] \S+ ?"
    r"|--dport \d+ "
    r"|-m addrtype --\w+-type LOCAL "
    r"|-m mark ! --mark \S+ "
    r"|-m statistic --mode random --probability [\d.]+ "
    r"|-m recent --rcheck .*?--rsource "
)


class IptablesTables:
    def __init__(self, tables: Ruleset) -> None:
        self._tables = tables

    def outcomes(self, packet: Packet, around: Surroundings, known: Known = ()) -> frozenset[Outcome]:
        found = simulate(self._tables, packet, around, known)
        return frozenset(
            Outcome(each.end, each.destination, each.port, each.masqueraded, each.mark, each.remembered)
            for each in found
        )

    def listing(self) -> str:
        rows = Explainer(self._tables).rows()
        lines = ["| table | chain | rule |", "|---|---|---|"]
        lines += [f"| {table} | {chain} | {rule} |" for table, chain, rule in rows]
        return "\n".join(lines) + "\n"

    def mutations(self) -> Iterator[tuple[str, "IptablesTables"]]:
        """Each rule left out; each condition of a rule left out."""
        of_services = set(Explainer(self._tables).rows())
        for table, chains in self._tables.items():
            for chain, rules in chains.items():
                for at, rule in enumerate(rules):
                    of_service = (table, chain, rule) in of_services
                    name = f"{'element of ' if of_service else ''}{table} {chain}: {rule}"
                    if not of_service:
                        name = shape(name)
                    yield name, self._with(table, chain, (*rules[:at], *rules[at + 1 :]))
                    for found in CONDITIONS.finditer(rule):
                        fewer = rule[: found.start()] + rule[found.end() :]
                        words = shape(found[0]) if not of_service else found[0]
                        yield (
                            f"{name} without {words}",
                            self._with(table, chain, (*rules[:at], fewer, *rules[at + 1 :])),
                        )

    def _with(self, table: str, chain: str, rules: tuple[str, ...]) -> "IptablesTables":
        return IptablesTables({**self._tables, table: {**self._tables[table], chain: rules}})


class Iptables:
    lane = "kernel"
    idle: Mapping[tuple[str, str], str] = {
        ("", r"element of nat KUBE-SEP-\w+: -s (10\.244\.2|fd00:10:244:2:)\S+ -m comment .* -j KUBE-MARK-MASQ"): (
            "kube-proxy writes it for every backend; one on another node is no client here"
        ),
        ("", r"element of nat KUBE-SV[CL]-\w+: .* -j KUBE-MARK-MASQ without (-d|--dport)"): (
            "kube-proxy repeats the address; who came here by another one is masqueraded already"
        ),
        ("masquerade/all-of-it", r"element of nat KUBE-SEP-\w+: -s "): "everything is masqueraded already",
        ("affinity/with-a-single-backend,-and-udp", r"element of nat KUBE-SVC-\w+: .* --rcheck"): "there is one only",
        (
            "ports/an-endpoint-that-is-the-node-itself",
            r"element of nat KUBE-SEP-\w+: -s ",
        ): "nodes are no pods: masqueraded",
        ("nodeport/on-loopback-too", r"element of nat KUBE-NODEPORTS: .* without (! )?-d 127\.0\.0\.0/8"): (
            "either leads on; they are two so that one of them counts"
        ),
        ("load-balancer/local,-for-some-sources-only", r"element of nat KUBE-FW-\w+: -s 19[28]\."): (
            "for nodes that carry the address"
        ),
        (
            "nodeport/every-protocol,-both-policies,-and-the-same-numbers-in-other-protocols",
            r"element of nat KUBE-(SVC|EXT)-\w+: ",
        ): "on this node both policies end at the same backend",
        ("selector-less/endpoints-that-are-no-pods", r"element of nat KUBE-SEP-\w+: -s "): "masqueraded: it is no pod",
        ("terminating/one-node-has-a-ready-one,-the-other-has-one-that-ends", r"element of nat KUBE-(SVC|EXT)-\w+: "): (
            "on this node both policies end at the same backend"
        ),
        ("external-policy/local,-with-local-backends-that-only-end", r"element of nat KUBE-SEP-\w+: -s "): (
            "needed where nobody says where pods are"
        ),
        ("", r"filter (FORWARD|KUBE-FORWARD): .*(forwarding|INVALID)"): "it answers rules of others that drop",
        ("", r"element of filter KUBE-NODEPORTS: .*health check node port"): "it answers rules of others that drop",
        ("", r"filter OUTPUT: -j KUBE-FIREWALL"): "what the node sends itself meets INPUT as well",
        ("", r"filter KUBE-FIREWALL: .* without ! -s"): "no packet of these pages comes from loopback",
        ("", r"filter INPUT: .*kubernetes health check service ports"): "it answers rules of others that drop",
    }

    def rendered(self, settings: Settings, balancings: Balancings) -> IptablesTables:
        programme = Programme(settings)
        programme.want({key: balancing.balancers for key, balancing in balancings.items()})
        return IptablesTables(programme.wanted())

    def read_back(self, where: Path, settings: Settings) -> IptablesTables:
        iptables = KernelIptables(where)
        texts = [iptables.save(settings.family, table) for table in TABLES]
        return IptablesTables({table: chains for text in texts for table, chains in read(text).items()})


def shape(name: str) -> str:
    """A rule without what differs between families and settings."""
    name = re.sub(r"(?<=-i )\S+", "NAME", name)
    return re.sub(r"(?<=-[sd] )[0-9a-f.:]+/\d+", "PREFIX", name)
