"""Flows without a kernel: facts through compile and a mode's render, packets through what it rendered, node by node."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import cast

import msgspec

from clew.compile.services import ServiceCompiler, ServiceNode
from clew.facts.endpointslice import EndpointSlice
from clew.ir.balancing import Balancing, Protocol
from clew.ir.packets import Outcome, Packet, Surroundings
from clew.ir.proxying import Settings
from clew.node.proxy import ProxySettings

from . import plan
from .modes import ModeUnderTest, Simulated
from .modes.protocol import Known
from .page import Flow, Section
from .world import join, split

Key = tuple[str, str]
MARK = 0x2A  # the user's bits in every packet


def settings(section: Section, node: str) -> ProxySettings:
    options = {"podCIDRs": "pod_cidrs", "serviceCIDRs": "service_cidrs", "nodePortAddresses": "node_port_addresses"}
    said = {options[name]: tuple(value) for name, value in section.settings.items() if name in options}
    values = {"pod_cidrs": plan.POD_CIDRS, **said}
    return ProxySettings(
        node,
        masquerade_all=bool(section.settings.get("masqueradeAll")),
        localhost_node_ports=bool(section.settings.get("localhostNodePorts")),
        pod_interface=section.settings.get("podInterface", ""),
        **values,
    )


def family_settings(section: Section, node: str, family: int) -> Settings:
    addresses = plan.NODES[node].addresses.values()
    return settings(section, node).of(6 if family == 6 else 4, addresses)


def compiled(section: Section, node: str) -> Mapping[Key, Balancing]:
    zone = section.settings.get("zones", {}).get(node, "")
    addresses = tuple(plan.NODES[node].addresses.values())
    compiler = ServiceCompiler(ServiceNode(node, zone, addresses))
    services = {service.key: service for service in section.services}

    def slices(key: Key) -> Iterable[EndpointSlice]:
        return [piece for piece in section.slices if piece.service_key == key]

    compiler.update(services, services.get, slices)
    return compiler.balancings


def rendered(mode: ModeUnderTest, section: Section, node: str, family: int) -> Simulated:
    return mode.rendered(family_settings(section, node, family), compiled(section, node))


Nodes = Callable[[str, int], Simulated]


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


def outcomes(flow: Flow, nodes: Nodes, known: Known = ()) -> frozenset[Outcome]:
    address, port = split(flow.to)
    family = 6 if ":" in address else 4
    node, from_here = entry(flow)
    source = plan.place(flow.source)
    interface = "" if from_here else "cbr0" if source.node else "eth0"
    packet = Packet(source.addresses[family], address, cast("Protocol", flow.protocol), port, MARK, interface)
    first = nodes(node, family).outcomes(packet, Surroundings(plan.local(node, family), from_here), known)
    return frozenset(last for outcome in first for last in _further(node, packet, outcome, nodes, known))


def _further(node: str, packet: Packet, outcome: Outcome, nodes: Nodes, known: Known) -> Iterable[Outcome]:
    """What becomes of it on the next node, where the first one sends it on, as it is, to an address of another."""
    family = 6 if ":" in packet.destination else 4
    sent = (outcome.end, outcome.destination, outcome.port) == ("goes on", packet.destination, packet.port)
    other = next((each for each, place in plan.NODES.items() if packet.destination in place.addresses.values()), node)
    if not sent or other == node:
        return [outcome]
    source = plan.NODES[node].addresses[family] if outcome.masqueraded else packet.source
    arriving = msgspec.structs.replace(packet, source=source, interface="eth0", mark=outcome.mark)
    found = nodes(other, family).outcomes(arriving, Surroundings(plan.local(other, family)), known)
    return [
        msgspec.structs.replace(
            each,
            masqueraded=each.masqueraded or outcome.masqueraded,
            remembered=(*outcome.remembered, *each.remembered),
        )
        for each in found
    ]


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
