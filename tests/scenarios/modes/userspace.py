"""The userspace proxy in the scenarios."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from clew.dataplane.userspace.apply import running
from clew.dataplane.userspace.explain import rows
from clew.dataplane.userspace.objects import State
from clew.dataplane.userspace.programme import Programme
from clew.dataplane.userspace.simulate import simulate
from clew.ir.packets import Outcome, Packet, Surroundings
from clew.ir.proxying import Settings

from .protocol import Balancings, Known, Simulated
from .xtables import rule_mutations


class UserspaceNode:
    def __init__(self, state: State) -> None:
        self._state = state

    def outcomes(self, packet: Packet, around: Surroundings, known: Known = ()) -> frozenset[Outcome]:
        found = simulate(self._state, packet, around, frozenset(known))
        fields = Outcome.__struct_fields__
        return frozenset(Outcome(*(getattr(each, field) for field in fields)) for each in found)

    def listing(self) -> str:
        lines = ["| object | key | value |", "|---|---|---|"]
        lines += [f"| {row.kind} | {row.key} | {row.value} |".replace("|  |", "| |") for row in rows(self._state)]
        return "\n".join(lines) + "\n"

    def mutations(self) -> Iterator[tuple[str, Simulated]]:
        for name, rules in rule_mutations(self._state.rules):
            of_service = "-m comment --comment" in name and "KUBE-" in name.split(": ")[0]
            element = of_service and " as " not in name
            yield f"element of {name}" if element else shape(name), self._with(rules=rules)
        for port, (key, way) in self._state.ways.items():
            rest = {each: other for each, other in self._state.ways.items() if each != port}
            yield f"element of ways: {key} left out", self._with(ways=rest)
            for at in way.backends:
                fewer = msgspec.structs.replace(way, backends=tuple(each for each in way.backends if each != at))
                yield f"element of ways: {key} without {at}", self._with(ways={**rest, port: (key, fewer)})
            other = msgspec.structs.replace(way, affinity=0 if way.affinity else 60)
            yield f"element of ways: {key} with other affinity", self._with(ways={**rest, port: (key, other)})

    def _with(self, **changes: object) -> "UserspaceNode":
        return UserspaceNode(msgspec.structs.replace(self._state, **changes))


OWN_PORTS = "for clients that send to the proxy's own ports: tests/scenarios/test_userspace.py"
IDLE: Mapping[tuple[str, str], str] = {
    ("", r"filter INPUT: -m conntrack --ctstate NEW -m conntrack ! --ctstate DNAT"): OWN_PORTS,
    ("", r"filter KUBE-PROXY-PORTS"): OWN_PORTS,
    **{
        (section, r"element of nat KUBE-PORTALS-HOST"): "the node itself may not use it"
        for section in (
            "load-balancer/source-ranges",
            "load-balancer/other-sources-for-other-services",
            "load-balancer/ipv6",
            "load-balancer/an-address-that-the-node-carries,-for-some-sources-only",
            "load-balancer/local,-for-some-sources-only",
            "external-ips/source-ranges-are-for-load-balancers-only",
        )
    },
    (
        "",
        r"element of mangle KUBE-PORTALS-FIREWALL: -s (192\.0\.2|198\.51\.100)\.10/32",
    ): "a source for modes in which the node carries the address",
    (
        "terminating/one-node-has-a-ready-one,-the-other-has-one-that-ends",
        r"element of nat KUBE-NODEPORT-CONTAINER: -s",
    ): "the short cut leads to the same backend",
}


class Userspace:
    lane = "kernel"
    idle = IDLE

    def rendered(self, settings: Settings, balancings: Balancings) -> Simulated:
        programme = Programme(settings)
        programme.want({key: balancing.balancers for key, balancing in balancings.items()})
        return UserspaceNode(programme.wanted())

    def read_back(self, where: Path, settings: Settings) -> Simulated:
        return UserspaceNode(running(where, settings.family).state())


def shape(name: str) -> str:
    """A rule without what differs between families and settings."""
    name = re.sub(r'--comment "default[^"]*"|--comment default[^ ]*', "--comment ORIGIN", name)
    name = re.sub(r"(--dport |--to-ports |--to-destination )\S+", r"\1PORT", name)
    name = re.sub(r"(-[sd] )[0-9a-f.:]+/[0-9]+", r"\1PREFIX", name)
    return name.replace("icmp6-", "icmp-")
