"""Every rule and every element is there for something: without it, or with another one, some packet ends elsewhere.

What may be changed without a packet noticing is listed, with the reason; anything else that turns up is either
superfluous in the table or missing in the scenarios.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

import msgspec
import pytest

from clew.dataplane.nftables import layout
from clew.dataplane.nftables.objects import Chain, Compare, Member, Rule, Table
from clew.dataplane.nftables.simulate import Elements, Outcome, Packet, Surroundings, simulate

from . import plan
from .page import Section, sections
from .simulated import rendered

SECTIONS = [section for path in sorted(Path(__file__).parent.glob("*.md")) for section in sections(path)]
NODE = plan.NODES["node-1"]

# Elements that no packet notices in these scenarios, and why they are there nevertheless.
IDLE = {
    ("masquerade/all-of-it", "hairpin"): "everything is masqueraded already",
    ("external-policy/local,-with-local-backends-that-only-end", "hairpin"): "needed where nobody says where pods are",
}

Seen = Mapping[object, object]
Simulation = Callable[[Table, Elements], Seen]

# The first packet of a connection is always new, and nft wants a transport named before ports are translated.
UNNOTICED_STATEMENTS = {"ct state new", "meta l4proto { tcp, udp, sctp }"}


def targets(section: Section, family: int) -> Iterator[tuple[str, str, int]]:
    """Every address and port at which something of the section may answer, and one beside each where nothing does."""
    for service in section.services:
        listed = [*service.cluster_ips, *service.external_ips, *(each.ip for each in service.ingress)]
        addresses = [address for address in listed if address and (":" in address) == (family == 6)]
        for port in service.ports:
            for address in addresses:
                yield address, port.protocol, port.port
                yield address, port.protocol, port.port + 1
            for address in (*plan.local("node-1", family), plan.NODES["node-2"].addresses[family]):
                yield address, port.protocol, port.node_port or port.port
    yield ("fd00:10:96::99", "TCP", 80) if family == 6 else ("10.96.0.99", "TCP", 80)


def simulation(section: Section, family: int) -> Simulation:
    """Where packets from everywhere to everything end on node-1, new clients and known ones."""
    everyone = [plan.PODS["a"], plan.PODS["b"], NODE, *plan.OUTSIDE.values()]
    around = plan.local("node-1", family)
    cases = [
        (
            Packet(source.addresses[family], address, protocol, port, mark=0x2A, priority=7),
            Surroundings(around, source is NODE),
        )
        for source, (address, protocol, port) in product(everyone, sorted(set(targets(section, family))))
    ]

    def run(table: Table, elements: Elements) -> Seen:
        seen: dict[object, object] = {}
        for packet, surroundings in cases:
            outcomes = simulate(table, elements, packet, surroundings)
            seen[packet, surroundings] = plain(outcomes)
            numbers = {(number, client): slot for each in outcomes for number, client, slot in each.remembered}
            for (number, client), slot in numbers.items():
                for kept in (slot, number | 1):  # a slot that is there, and one that is not
                    again = simulate(table, elements, packet, surroundings, {(number, client): kept})
                    seen[packet, surroundings, kept] = plain(again)
        return seen

    return run


def plain(outcomes: Iterable[Outcome]) -> frozenset[Outcome]:
    return frozenset(msgspec.structs.replace(each, rules=()) for each in outcomes)


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
    return re.sub(r"(?<=daddr |saddr )(!= )?(\{[^}]*\}|[0-9a-f.:]+(/\d+)?)", r"\1PREFIX", name.replace("ip6", "ip"))


def test_every_rule_decides_about_some_packet() -> None:
    waiting: set[str] = set()
    decided: set[str] = set()
    for section, family in product(SECTIONS, (4, 6)):
        node = rendered(section, "node-1", family)
        mutations = [(shape(name), table) for name, table in rule_mutations(node.table) if shape(name) not in decided]
        if not mutations:
            continue
        run = simulation(section, family)
        right = run(node.table, node.elements)
        for name, table in mutations:
            if run(table, node.elements) != right:
                decided.add(name)
            else:
                waiting.add(name)
    unnoticed = sorted(waiting - decided)
    assert not unnoticed, "\n".join(unnoticed)


@pytest.mark.parametrize("section", [section for section in SECTIONS if section.services], ids=str)
def test_every_element_decides_about_some_packet(section: Section) -> None:
    unnoticed = []
    for family in (4, 6):
        node = rendered(section, "node-1", family)
        run = simulation(section, family)
        right = run(node.table, node.elements)
        listed = [(name, key) for name, elements in node.elements.items() for key in elements]
        for name, key in (each for each in listed if (str(section), each[0]) not in IDLE):
            for change, elements in element_mutations(node.elements, name, key):
                if run(node.table, elements) == right:
                    unnoticed.append(f"{name} {key.hex()} {change}")
    assert unnoticed == []


def element_mutations(elements: Elements, name: str, key: bytes) -> Iterator[tuple[str, Elements]]:
    """The element left out; its value another one."""
    rest = {each: value for each, value in elements[name].items() if each != key}
    yield "left out", {**elements, name: rest}
    value = elements[name][key]
    where = layout.SETS_BY_NAME[name]
    if where.data:
        other = bytes([value[0] ^ 0x40, *value[1:]]) if where.data == ("number",) else value[:-3] + bytes([9, 0, 0])
        yield "altered", {**elements, name: {**rest, key: other}}
