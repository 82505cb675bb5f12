"""Every rule and element is there for something: without it, or with another one, some packet ends elsewhere.

What may be changed without a packet noticing is listed by the mode, with the reason; anything else that turns up is
either superfluous in what is rendered or missing in the scenarios.
"""

import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from clew.ir.packets import Memory, Packet, Surroundings

from . import plan
from .modes import MODES, Simulated
from .page import Section, sections
from .simulated import MARK, rendered

SECTIONS = [section for path in sorted(Path(__file__).parent.glob("*.md")) for section in sections(path)]
NODE = plan.NODES["node-1"]
UNKNOWN = {4: "10.96.0.99", 6: "fd00:10:96::99"}  # no service has it
ELEMENT = "element of "  # mutations so named are to be noticed in their own section, others in any

Unlike = Callable[[Simulated], bool]


def targets(section: Section, family: int) -> Iterator[tuple[str, str, int]]:
    """Every address and port at which something of the section may answer, and one beside each where nothing does."""
    for service in section.services:
        listed = [*service.cluster_ips, *service.external_ips, *(each.ip for each in service.ingress)]
        addresses = [address for address in listed if address and (":" in address) == (family == 6)]
        for port in service.ports:
            for address in (*addresses, UNKNOWN[family]):
                yield address, port.protocol, port.port
                yield address, port.protocol, port.port + 1
                yield address, "UDP", port.port
            for address in (*plan.local("node-1", family), plan.NODES["node-2"].addresses[family]):
                yield address, port.protocol, port.node_port or port.port
            if port.node_port:
                yield NODE.addresses[family], port.protocol, port.node_port + 1
                yield "::1" if family == 6 else "127.0.0.1", port.protocol, port.node_port + 1
    yield UNKNOWN[family], "TCP", 80


def unlike(right: Simulated, section: Section, family: int) -> Unlike:
    """Whether some packet ends elsewhere than with the right rules: from everywhere to everything, known clients too.

    The packet that noticed a damage comes first next time: it often notices the next one as well.
    """
    everyone = [plan.PODS["a"], plan.PODS["b"], NODE, *plan.OUTSIDE.values()]
    around = plan.local("node-1", family)

    def interface(source: plan.Place) -> str:
        return "" if source is NODE else "cbr0" if source.node else "eth0"

    answers: dict[tuple[Packet, Surroundings, tuple[Memory, ...]], object] = {}
    for source, (address, protocol, port) in product(everyone, sorted(set(targets(section, family)))):
        packet = Packet(source.addresses[family], address, protocol, port, MARK, interface(source))
        surroundings = Surroundings(around, source is NODE)
        outcomes = right.outcomes(packet, surroundings)
        answers[packet, surroundings, ()] = outcomes
        for memory in {memory for each in outcomes for memory in each.remembered}:
            for kept in (memory, forged(memory)):  # a choice that is there, and one that is not
                answers[packet, surroundings, (kept,)] = right.outcomes(packet, surroundings, (kept,))
    cases = list(answers)

    def differs(node: Simulated) -> bool:
        for place, case in enumerate(cases):
            if node.outcomes(*case) != answers[case]:
                cases.insert(0, cases.pop(place))
                return True
        return False

    return differs


def forged(memory: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The same client, remembered at a backend that has gone."""
    last = memory[-1]
    return (*memory[:-1], last | 1 if isinstance(last, int) else "gone")


@pytest.mark.parametrize("mode", MODES)
def test_every_rule_decides_about_some_packet(mode: str) -> None:
    waiting: set[str] = set()
    decided: set[str] = set()
    for section, family in product(SECTIONS, (4, 6)):
        node = rendered(MODES[mode], section, "node-1", family)
        mutations = [
            (name, damaged)
            for name, damaged in node.mutations()
            if not name.startswith(ELEMENT) and name not in decided
        ]
        if not mutations:
            continue
        differs = unlike(node, section, family)
        for name, damaged in mutations:
            if name in decided:
                continue
            if differs(damaged):
                decided.add(name)
            else:
                waiting.add(name)
    unnoticed = sorted(name for name in waiting - decided if not idle(mode, "", name))
    assert not unnoticed, "\n".join(unnoticed)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("section", [section for section in SECTIONS if section.services], ids=str)
def test_every_element_decides_about_some_packet(mode: str, section: Section) -> None:
    unnoticed = []
    for family in (4, 6):
        node = rendered(MODES[mode], section, "node-1", family)
        differs = unlike(node, section, family)
        for name, damaged in node.mutations():
            if name.startswith(ELEMENT) and not idle(mode, str(section), name) and not differs(damaged):
                unnoticed.append(name)
    assert unnoticed == []


def idle(mode: str, section: str, name: str) -> bool:
    return any(where in {"", section} and re.match(pattern, name) for where, pattern in MODES[mode].idle)
