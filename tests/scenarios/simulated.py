"""Flows without a kernel: facts through compile and render, packets through the rules, node by node."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import cast

from clew.compile.services import ServiceCompiler, ServiceNode
from clew.dataplane.nftables.objects import Table
from clew.dataplane.nftables.programme import Programme
from clew.dataplane.nftables.simulate import Elements, Outcome, Packet, Surroundings, simulate
from clew.facts.endpointslice import EndpointSlice
from clew.ir.balancing import Balancing, Protocol
from clew.node.proxy import ProxySettings

from . import plan
from .page import Flow, Section
from .world import join, split

Key = tuple[str, str]


def settings(section: Section, node: str) -> ProxySettings:
    options = {"podCIDRs": "pod_cidrs", "serviceCIDRs": "service_cidrs", "nodePortAddresses": "node_port_addresses"}
    said = {options[name]: tuple(value) for name, value in section.settings.items() if name in options}
    values = {"pod_cidrs": plan.POD_CIDRS, **said}
    return ProxySettings(node, masquerade_all=bool(section.settings.get("masqueradeAll")), **values)


def compiled(section: Section, node: str) -> Mapping[Key, Balancing]:
    zone = section.settings.get("zones", {}).get(node, "")
    addresses = tuple(plan.NODES[node].addresses.values())
    compiler = ServiceCompiler(ServiceNode(node, zone, addresses))
    services = {service.key: service for service in section.services}

    def slices(key: Key) -> Iterable[EndpointSlice]:
        return [piece for piece in section.slices if piece.service_key == key]

    compiler.update(services, services.get, slices)
    return compiler.balancings


@dataclass
class NodeTable:
    """One node's table of one family: as rendered, or as read back."""

    node: str
    table: Table
    elements: Elements


def rendered(section: Section, node: str, family: int) -> NodeTable:
    programme = Programme(settings(section, node).of(6 if family == 6 else 4))
    programme.want({key: balancing.balancers for key, balancing in compiled(section, node).items()})
    return NodeTable(node, programme.structure(), programme.wanted())


Tables = Callable[[str, int], NodeTable]


def entry(flow: Flow) -> tuple[str, bool]:
    """The node whose rules a flow meets first, and whether it begins on that node."""
    source = plan.place(flow.source)
    if source.node:
        return source.node, source.name in plan.NODES
    address, _ = split(flow.to)
    for place in plan.NODES.values():
        if address in place.addresses.values():
            return place.name, False
    return next(node for prefix, node in plan.BALANCED.items() if ip_address(address) in ip_network(prefix)), False


def outcomes(flow: Flow, tables: Tables, known: Mapping[tuple[int, str], int] | None = None) -> frozenset[Outcome]:
    address, port = split(flow.to)
    family = 6 if ":" in address else 4
    node, from_here = entry(flow)
    table = tables(node, family)
    packet = Packet(
        plan.place(flow.source).addresses[family], address, cast("Protocol", flow.protocol), port, mark=0x2A
    )
    around = Surroundings(plan.local(node, family), from_here)
    return simulate(table.table, table.elements, packet, around, known)


def end(flow: Flow, outcome: Outcome) -> str:
    if outcome.end == "dropped":
        return "DROPPED"
    here = join(outcome.destination, outcome.port)
    if here == flow.to and "NOT OURS" in flow.ends:
        return "NOT OURS"
    return here if outcome.end == "goes on" else "REFUSED"


def seen(outcome: Outcome) -> str:
    if outcome.end != "goes on":
        return ""
    return "node" if outcome.masqueraded else "kept"
