"""nftables in the scenarios."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from clew.dataplane.nftables import layout
from clew.dataplane.nftables.apply import Backend
from clew.dataplane.nftables.explain import Explainer
from clew.dataplane.nftables.listing import read_table
from clew.dataplane.nftables.objects import Chain, Compare, Member, Rule, Table
from clew.dataplane.nftables.programme import Programme
from clew.dataplane.nftables.simulate import Elements, Packet, simulate
from clew.ir import packets
from clew.ir.packets import Outcome, Surroundings
from clew.ir.proxying import Settings
from clew.kernel.nft import KernelNft

from .protocol import Balancings, Known

# The first packet of a connection is always new, and nft wants a transport named before ports are translated.
UNNOTICED_STATEMENTS = {"ct state new", "meta l4proto { tcp, udp, sctp }"}


class NftablesTable:
    def __init__(self, table: Table, elements: Elements) -> None:
        self._table, self._elements = table, elements

    def outcomes(self, packet: packets.Packet, around: Surroundings, known: Known = ()) -> frozenset[Outcome]:
        affinity = {(int(number), str(client)): int(slot) for number, client, slot in known}
        here = Packet(**msgspec.structs.asdict(packet), priority=7)
        found = simulate(self._table, self._elements, here, around, affinity)
        return frozenset(msgspec.structs.replace(each, rules=()) for each in found)

    def emptied(self) -> "NftablesTable":
        """Without what services have in it."""
        kept = {name: entries if name == "service-ranges" else {} for name, entries in self._elements.items()}
        return NftablesTable(self._table, kept)

    def listing(self) -> str:
        rows = Explainer(self._table.family, self._elements).rows()
        lines = ["| set | element | value |", "|---|---|---|"]
        lines += [f"| {row.set} | {row.key} | {row.value} |".replace("|  |", "| |") for row in rows]
        return "\n".join(lines) + "\n"

    def mutations(self) -> Iterator[tuple[str, "NftablesTable"]]:
        """Each rule, and each condition of a rule, left out; each element left out, or with another value."""
        for name, table in rule_mutations(self._table):
            yield shape(name), NftablesTable(table, self._elements)
        for name, elements in self._elements.items():
            for key, value in elements.items():
                rest = {each: other for each, other in elements.items() if each != key}
                yield (
                    f"element of {name} {key.hex()} left out",
                    NftablesTable(self._table, {**self._elements, name: rest}),
                )
                where = layout.SETS_BY_NAME[name]
                if where.data:
                    number = bytes([value[0] ^ 0x40, *value[1:]])
                    other = number if where.data == ("number",) else value[:-3] + bytes([9, 0, 0])
                    yield (
                        f"element of {name} {key.hex()} altered",
                        NftablesTable(self._table, {**self._elements, name: {**rest, key: other}}),
                    )


class Nftables:
    lane = "kernel"
    idle: Mapping[tuple[str, str], str] = {
        ("masquerade/all-of-it", "element of hairpin"): "everything is masqueraded already",
        ("external-policy/local,-with-local-backends-that-only-end", "element of hairpin"): (
            "needed where nobody says where pods are"
        ),
        ("load-balancer/local,-for-some-sources-only", "element of source-ranges c0|element of source-ranges c6"): (
            "for nodes that carry the address"
        ),
        ("selector-less/endpoints-that-are-no-pods", "element of hairpin"): "masqueraded already: it is no pod",
        ("selector-less/pods-of-which-nobody-says-where-they-are", "element of hairpin 0af4020a"): "it is not here",
    }

    def rendered(self, settings: Settings, balancings: Balancings) -> NftablesTable:
        return rendered(settings, balancings)

    def read_back(self, where: Path, settings: Settings) -> NftablesTable:
        return read_back(where, settings, layout.TABLE)


def rendered(settings: Settings, balancings: Balancings) -> NftablesTable:
    programme = Programme(settings)
    programme.want({key: balancing.balancers for key, balancing in balancings.items()})
    return NftablesTable(programme.structure(), programme.wanted())


def read_back(where: Path, settings: Settings, table: str) -> NftablesTable:
    backend = Backend(nft := KernelNft(where), settings, table)
    try:
        return NftablesTable(read_table(nft.listing(settings.ip, table) or ""), backend.read_elements())
    finally:
        backend.close()


def without(table: Table, chain: Chain, rules: Iterable[Rule]) -> Table:
    changed = msgspec.structs.replace(chain, rules=tuple(rules))
    chains = tuple(changed if each.name == chain.name else each for each in table.chains)
    return msgspec.structs.replace(table, chains=chains)


def rule_mutations(table: Table) -> Iterator[tuple[str, Table]]:
    """Each rule left out; each condition of a rule left out."""
    for chain in table.chains:
        for place, rule in enumerate(chain.rules):
            rest = [*chain.rules[:place], *chain.rules[place + 1 :]]
            yield f"{chain.name}: {rule}", without(table, chain, rest)
            for statement in rule.statements[:-1]:
                if isinstance(statement, Compare | Member) and str(statement) not in UNNOTICED_STATEMENTS:
                    fewer = tuple(each for each in rule.statements if each != statement)
                    altered = [*chain.rules[:place], Rule(fewer), *chain.rules[place + 1 :]]
                    yield f"{chain.name}: {rule} without {statement}", without(table, chain, altered)


def shape(name: str) -> str:
    """A rule without what differs between families and settings."""
    name = re.sub(r'(?<=iifname )(!= )?"[^"]*"', r"\1NAME", name)
    return re.sub(r"(?<=daddr |saddr )(!= )?(\{[^}]*\}|[0-9a-f.:]+(/\d+)?)", r"\1PREFIX", name.replace("ip6", "ip"))
