"""IPVS in the scenarios. Its packets are real in the vm lane, whose kernel has it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from clew.dataplane.ipvs import facility
from clew.dataplane.ipvs.explain import rows
from clew.dataplane.ipvs.objects import KINDS, State, set_name
from clew.dataplane.ipvs.programme import Programme
from clew.dataplane.ipvs.readback import read_state
from clew.dataplane.ipvs.simulate import simulate
from clew.ir.packets import Outcome, Packet, Surroundings
from clew.ir.proxying import Settings

from .. import plan  # noqa: TID252 - the tests are no package that could be named
from .protocol import Balancings, Known, Simulated
from .xtables import rule_mutations


class IpvsNode:
    def __init__(self, state: State, settings: Settings) -> None:
        self._state, self._settings = state, settings

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
            yield shape(name, self._settings), self._with(rules=rules)
        for name, entries in self._state.sets.items():
            for entry in entries:
                yield (
                    f"element of {name}: {entry} left out",
                    self._with(sets={**self._state.sets, name: entries - {entry}}),
                )
        for key, reals in self._state.reals.items():
            servers = {each: server for each, server in self._state.servers.items() if each != key}
            yield f"element of servers: {key} left out", self._with(servers=servers)
            for at in reals:
                rest = {each: weight for each, weight in reals.items() if each != at}
                yield f"element of reals: {key} {at} left out", self._with(reals={**self._state.reals, key: rest})
                drained = {**reals, at: 0}
                yield f"element of reals: {key} {at} drained", self._with(reals={**self._state.reals, key: drained})
            server = self._state.servers[key]
            other = msgspec.structs.replace(server, persistence=0 if server.persistence else 60)
            yield f"element of servers: {key} altered", self._with(servers={**self._state.servers, key: other})
        for address in self._state.addresses:
            yield f"element of addresses: {address} left out", self._with(addresses=self._state.addresses - {address})

    def _with(self, **changes: object) -> "IpvsNode":
        return IpvsNode(msgspec.structs.replace(self._state, **changes), self._settings)


OTHERS = "for machines on which others' rules would translate or drop it"
IDLE: Mapping[tuple[str, str], str] = {
    (
        "load-balancer/local,-for-some-sources-only",
        r"element of KUBE-LOAD-BALANCER-SOURCE-CIDR: .*,(19[28]\.|172\.30\.0\.11 )",
    ): ("for nodes that carry the address; what the node itself sends passes anyway"),
    ("selector-less/endpoints-that-are-no-pods", "element of KUBE-LOOP-BACK"): "masqueraded already: it is no pod",
    (
        "selector-less/pods-of-which-nobody-says-where-they-are",
        r"element of KUBE-LOOP-BACK: 10\.244\.2\.",
    ): "it is not here",
    ("masquerade/all-of-it", "element of KUBE-LOOP-BACK"): "everything is masqueraded already",
    ("ports/an-endpoint-that-is-the-node-itself", "element of KUBE-LOOP-BACK"): "the node reaches itself without it",
    (
        "",
        r"nat KUBE-NODE-PORT-MASQ: -p \w+ -m set --match-set KUBE-NODE-PORT-LOCAL-\w+ dst -j RETURN as -m set",
    ): "a number is one service's, which has one policy in every protocol",
    ("", "filter FORWARD"): OTHERS,
    ("", "filter KUBE-FORWARD"): OTHERS,
    **{
        ("", f"nat KUBE-SERVICES: -m set --match-set {name} dst,dst -j ACCEPT"): OTHERS
        for name in ("KUBE-CLUSTER-IP", "KUBE-LOAD-BALANCER", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL")
    },
}


class Ipvs:
    lane = "vm"
    idle = IDLE

    def rendered(self, settings: Settings, balancings: Balancings) -> Simulated:
        node = next(
            name for name, each in plan.NODES.items() if each.addresses[settings.family] in settings.node_addresses
        )
        programme = Programme(settings, plan.local(node, settings.family))
        programme.want({key: balancing.balancers for key, balancing in balancings.items()})
        return IpvsNode(programme.wanted(), settings)

    def read_back(self, where: Path, settings: Settings) -> Simulated:
        ports = facility.open_ports(where)
        try:
            return IpvsNode(read_state(ports, settings), settings)
        finally:
            ports.close()


def shape(name: str, settings: Settings) -> str:
    """A rule without what differs between families and settings."""
    for prefix in (
        *settings.pod_cidrs,
        *settings.service_cidrs,
        *settings.node_port_addresses,
        "127.0.0.0/8",
        "::1/128",
    ):
        name = name.replace(prefix, "PREFIX")
    if settings.pod_interface:
        name = name.replace(settings.pod_interface.replace("*", "+"), "NAME")
    for plain in KINDS:
        name = name.replace(f"{set_name(plain, 6)} ", f"{plain} ")
    return name.replace("icmp6-", "icmp-")
