"""eBPF in the scenarios: pods and nodes ask by their sockets, as programs in the node's control group do."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from tests.scenarios import plan

from clew.dataplane.ebpf import layout
from clew.dataplane.ebpf.apply import open_backends
from clew.dataplane.ebpf.explain import Explainer
from clew.dataplane.ebpf.layout import FRONTENDS, MEMBERS, NODES, NodeFlag
from clew.dataplane.ebpf.objects import TABLES, Device, State, Surface
from clew.dataplane.ebpf.programme import Programme
from clew.dataplane.ebpf.render import is_left_to_tables
from clew.dataplane.ebpf.simulate import simulate
from clew.ir.packets import Outcome, Packet, Surroundings
from clew.ir.proxying import Settings

from .nftables import NftablesTable, read_back, rendered
from .protocol import Balancings, Known, Simulated

INSIDE = "cbr0"  # packets from here are of this node's pods, whose sockets were asked first
SERVICES = {"frontends", "endpoints", "members", "ranges", "cluster_ips"}


class EbpfNode:
    """Programs, and the tables behind them, whose memories have one word less."""

    def __init__(self, state: State, tables: NftablesTable) -> None:
        self._state, self._tables = state, tables

    def outcomes(self, packet: Packet, around: Surroundings, known: Known = ()) -> frozenset[Outcome]:
        sockets = around.from_here or packet.interface == INSIDE
        kept = [tuple(each for each in known if len(each) == size) for size in (4, 3)]

        def tables(left: Packet) -> frozenset[Outcome]:
            theirs = left.protocol == "SCTP" or (left.protocol == "UDP" and around.from_here)
            met = self._tables if theirs else self._tables.emptied()  # programs stand before them
            return met.outcomes(left, around, kept[1])

        found = simulate(self._state, packet, around, kept[0], sockets=sockets, tables=tables)
        fields = Outcome.__struct_fields__
        return frozenset(Outcome(*(getattr(each, field) for field in fields)) for each in found)

    def listing(self) -> str:
        lines = ["| map | key | value |", "|---|---|---|"]
        lines += [
            f"| {row.map} | {row.key} | {row.value} |".replace("|  |", "| |") for row in Explainer(self._state).rows()
        ]
        left = self._tables.listing().splitlines()[2:]
        return "\n".join([*lines, *left]) + "\n"

    def mutations(self) -> Iterator[tuple[str, Simulated]]:
        for name, rules in self._state.chains.items():
            for place, rule in enumerate(rules):
                rest = (*rules[:place], *rules[place + 1 :])
                yield shape(f"{name}: {rule}"), self._with(chains={**self._state.chains, name: rest})
        for name, entries in self._state.maps.items():
            for key, value in entries.items():
                rest = {each: other for each, other in entries.items() if each != key}
                said = f"element of {self._kind(name, key)} {key.hex()}" if name in SERVICES else f"an entry of {name}"
                yield f"{said} left out", self._entries(name, rest)
                for how, other in altered(name, value):
                    yield f"{said} {how}", self._entries(name, {**rest, key: other})
                for flag, other in flagged(name, value):
                    yield f"a frontend with other {flag}", self._entries(name, {**rest, key: other})
        for name, tables in self._tables.mutations():  # rules, and what an element says, are mode nftables' own matter
            if name.startswith("element of ") and name.endswith(" left out"):
                yield f"the tables' {name.split()[2]} without an element", EbpfNode(self._state, tables)

    def _kind(self, name: str, key: bytes) -> str:
        """Members are of sets whose clients keep their backend, or to which sockets send without connecting."""
        if name != MEMBERS:
            return name
        frontends = [layout.unpack_frontend(each) for each in self._state.maps[FRONTENDS].values()]
        number = layout.unpack_number(key[:4])
        kept = any(each.affinity for each in frontends if number in {each.cluster, each.local})
        return name if kept else f"{name} for senders"

    def _entries(self, name: str, entries: Mapping[bytes, bytes]) -> "EbpfNode":
        return self._with(maps={**self._state.maps, name: entries})

    def _with(self, **changes: object) -> "EbpfNode":
        return EbpfNode(msgspec.structs.replace(self._state, **changes), self._tables)


def altered(name: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    if name == "endpoints":
        yield "altered", value[:15] + bytes([value[15] ^ 0x40]) + value[16:]
    if name == FRONTENDS:
        frontend = layout.unpack_frontend(value)
        for field in ("cluster", "local", "affinity"):
            if getattr(frontend, field):
                yield f"without {field}", layout.pack_frontend(msgspec.structs.replace(frontend, **{field: 0}))
    if name == NODES:
        node = layout.unpack_node(value)
        for each in NodeFlag:
            if each in node.flags:
                yield f"without {each.name}", layout.pack_node(msgspec.structs.replace(node, flags=node.flags ^ each))
        yield "without address", layout.pack_node(msgspec.structs.replace(node, address=""))
        yield "without mark", layout.pack_node(msgspec.structs.replace(node, refused_mark=0))


def flagged(name: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    """Each flag of a frontend the other way round: some page must notice, not each."""
    if name == FRONTENDS:
        frontend = layout.unpack_frontend(value)
        for flag in layout.Flag:
            other = msgspec.structs.replace(frontend, flags=frontend.flags ^ flag)
            yield str(flag.name), layout.pack_frontend(other)


class Ebpf:
    lane = "kernel"
    idle: Mapping[tuple[str, str], str] = {
        ("", "an entry of names"): "it names a set for a restarted agent and for people",
        ("", "element of members for senders"): "of sockets that send without connecting: test_ebpf.py",
        ("load-balancer/local,-for-some-sources-only", r"element of ranges \w+(c000020a|c633640a) left out"): (
            "for nodes that carry the address"
        ),
    }

    def rendered(self, settings: Settings, balancings: Balancings) -> Simulated:
        node = next(
            name for name, each in plan.NODES.items() if each.addresses[settings.family] in settings.node_addresses
        )
        devices = (Device(1, "lo", "lo", guarded=False), Device(2, "eth0", "eth0"), Device(3, "veth-a", INSIDE))
        programme = Programme(settings, Surface(devices, tuple(plan.local(node, settings.family)), 1))
        programme.want({key: balancing.balancers for key, balancing in balancings.items()})
        left = {
            key: msgspec.structs.replace(each, balancers=tuple(filter(is_left_to_tables, each.balancers)))
            for key, each in balancings.items()
        }
        return EbpfNode(programme.wanted(), rendered(settings, left))

    def read_back(self, where: Path, settings: Settings) -> Simulated:
        (backend,) = open_backends(where, (settings,))
        try:
            return EbpfNode(backend.state(), read_back(where, settings, TABLES))
        finally:
            backend.close()


def shape(name: str) -> str:
    """A rule without what differs between families and settings."""
    return re.sub(r"ip6? daddr (\{[^}]*\}|[0-9a-f.:]+(/\d+)?)", "ip daddr PREFIX", name)
