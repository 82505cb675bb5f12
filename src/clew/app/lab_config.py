"""What a lab is to be: one YAML document `kind: Lab` with the command's flags over it, checked before anything is made.

The document's fields are in docs/design/lab.md and examples/. Ranges are checked in lab_ranges, the agent's sections
(`proxy`, `network`, `dns`) by the readers that the agent uses too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec.structs import replace

from clew.api.schema.duplicates import duplicate_fields
from clew.app import dns_config, kube_proxy_config, kube_proxy_settings, lab_nodes, lab_ranges, network_config
from clew.app.dns_config import DnsConfiguration
from clew.app.document_fields import convert
from clew.app.lab_nodes import NodeEntry
from clew.app.lab_ranges import SubnetEntry
from clew.app.lab_spec import Families, LabSpec, NodeSpec
from clew.app.network_config import NetworkConfiguration
from clew.app.outside import names_zone
from clew.base.errors import UserError
from clew.base.value import Value
from clew.cluster.fabric import Subnet
from clew.cluster.paths import LabPaths
from clew.compile.routes import LEAST
from clew.facts.node import Node

API_VERSION = "clew.dev/v1alpha1"
_EXAMPLES = {4: "192.0.2.1", 6: "2001:db8::1"}  # of a node's address (RFC 5737, RFC 3849)
_SOCKET_ROOM = 74  # letters that Linux leaves a lab's and a node's name together in the path of a node's socket


class LabDocument(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The file as it is written."""

    api_version: str = API_VERSION
    kind: Literal["Lab"] = "Lab"
    nodes: int | list[str | NodeEntry] = 3
    ip_family: Families = "ipv4"
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    service_cidr: str = msgspec.field(default="", name="serviceCIDR")
    subnets: list[str | SubnetEntry] = []
    names: dict[str, list[str]] = {}
    proxy: dict[str, Any] = {}
    network: str | dict[str, Any] = "host-gw"
    dns: dict[str, Any] = {}


class Flags(Value):
    """What the command line says over the file; None: nothing."""

    nodes: int | None = None
    ip_family: Families | None = None
    network: str | None = None
    proxy_mode: str | None = None

    def __bool__(self) -> bool:
        return self != Flags()


def read_spec(name: str, path: Path | None, flags: Flags) -> LabSpec:
    """The file with the flags over it; UserError names the field that is wrong."""
    document = _read(path) if path else LabDocument()
    where = f"{path}: " if path else ""
    _apply(document, flags)
    try:
        return _spec(name, document)
    except UserError as wrong:
        raise UserError(f"{where}{wrong.message}", wrong.remedy) from None


def amended(spec: LabSpec, flags: Flags) -> LabSpec:
    """A lab that is there, with nothing but what the flags say changed; UserError as of a file."""
    nodes, family, proxy, network = spec.nodes, flags.ip_family or spec.family, spec.proxy, spec.network
    if flags.nodes not in {None, len(nodes)}:
        nodes = lab_nodes.nodes(flags.nodes or 0, [each.name for each in spec.subnets])
    if flags.proxy_mode is not None:
        proxy = _proxy({**proxy, "mode": flags.proxy_mode})
    if flags.network is not None:
        network = replace(network, backend=flags.network)
        network_config.check(network)
        _check_reach(network, nodes, family)
        _check_room(network, spec.subnets, family)
    return replace(spec, nodes=nodes, family=family, proxy=proxy, network=network)


def _read(path: Path) -> LabDocument:
    try:
        raw = path.read_bytes()
        found = yaml.safe_load(raw)
        twice = duplicate_fields(raw, is_yaml=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "name the lab's file by --config") from None
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{path} is not one YAML document: {said}", "indentation is the usual culprit") from None
    if not isinstance(found, dict) or found.get("kind") != "Lab":
        raise UserError(f"{path} is no lab", "it must be one YAML document with kind: Lab")
    if twice:
        raise UserError(f"{path}: {twice[0].message}", "keep one of them")
    try:
        return convert(found, LabDocument)
    except UserError as wrong:
        raise UserError(f"{path}: {wrong.message}", wrong.remedy) from None


def _apply(document: LabDocument, flags: Flags) -> None:
    if flags.nodes is not None:
        document.nodes = flags.nodes
    if flags.ip_family is not None:
        document.ip_family = flags.ip_family
    if flags.network is not None:
        said = document.network
        document.network = {**said, "backend": flags.network} if isinstance(said, dict) else flags.network
    if flags.proxy_mode is not None:
        document.proxy = {**document.proxy, "mode": flags.proxy_mode}


def _spec(name: str, document: LabDocument) -> LabSpec:
    LabPaths(name)  # refuses what is no name
    if document.api_version != API_VERSION:
        raise UserError(f"apiVersion: {document.api_version!r} is not known", f"write {API_VERSION}")
    subnets = lab_ranges.subnets(document.subnets, document.ip_family)
    nodes = lab_nodes.nodes(document.nodes, [each.name for each in subnets])
    pods = lab_ranges.ranges("podCIDR", document.pod_cidr, document.ip_family)
    services = lab_ranges.ranges("serviceCIDR", document.service_cidr, document.ip_family)
    lab_ranges.check(pods, services, subnets, nodes)
    network = _network(document.network)
    _check_reach(network, nodes, document.ip_family)
    _check_speakers(network, [each.name for each in nodes])
    _check_room(network, subnets, document.ip_family)
    longest = max((each.name for each in nodes), key=len)
    if len(name) + len(longest) > _SOCKET_ROOM:
        raise UserError(f"the names {name!r} and {longest!r} are too long together", f"use {_SOCKET_ROOM} letters")
    return LabSpec(
        name, nodes, document.ip_family, pods, services, subnets, _names(document.names), _proxy(document.proxy),
        network, _dns(document.dns),
    )  # fmt: skip


def _proxy(section: dict[str, Any]) -> dict[str, Any]:
    section = kube_proxy_config.without_nulls(section)
    convert(section, kube_proxy_config.KubeProxyConfiguration, "proxy")
    try:
        kube_proxy_settings.check(kube_proxy_config.parse(section))
    except UserError as wrong:
        raise UserError(wrong.message.replace(f"{kube_proxy_config.KIND}: ", "proxy."), wrong.remedy) from None
    return section


def _network(section: str | dict[str, Any]) -> NetworkConfiguration:
    if isinstance(section, dict):
        convert(section, NetworkConfiguration, "network")
    return network_config.parse(section)


def _dns(section: dict[str, Any]) -> DnsConfiguration:
    convert(section, DnsConfiguration, "dns")
    return dns_config.parse(section)


def _check_speakers(network: NetworkConfiguration, names: Sequence[str]) -> None:
    """Nodes that the section names must be there."""
    bgp = network.bgp
    named = [("routeReflectors", bgp.route_reflectors)]
    named += [(f"peers[{at}].nodes", peer.nodes) for at, peer in enumerate(bgp.peers)]
    for field, given in named:
        for each in given:
            if each not in names:
                raise UserError(f"network.bgp.{field}: there is no node {each!r}", f"nodes: {' '.join(names)}")


def _check_reach(network: NetworkConfiguration, nodes: Sequence[NodeSpec], family: Families) -> None:
    """Routes to pods name a next hop on the link: behind a router that knows no pods they lead nowhere."""
    used = sorted({each.subnet for each in nodes})
    if network.encapsulation == "ipip" and (family == "ipv6" or (family == "dual" and len(used) > 1)):
        where = (
            "this lab has none" if family == "ipv6" else f"IPv6 would end at the router between {' and '.join(used)}"
        )
        raise UserError(f"network: ipip carries IPv4 alone, and {where}", "use vxlan, wireguard or ipsec")
    if network.encapsulation is None and not network.bgp.peers and len(used) > 1:
        raise UserError(
            f"network: {network.backend} does not reach over the router between subnets {' and '.join(used)}",
            "use vxlan or ipip; with crossSubnet: true they encapsulate only what crosses it",
        )


def _check_room(network: NetworkConfiguration, subnets: Sequence[Subnet], family: Families) -> None:
    """What a tunnel leaves of a subnet's packets must do for IPv6 (RFC 8200), or no pod could have an address of it."""
    own = Node("node", tuple(_EXAMPLES[kind] for kind in lab_ranges.KINDS[family]))
    for at, subnet in enumerate(subnets):
        left = network.between().room(subnet.mtu, lab_ranges.KINDS[family], own)
        if family != "ipv4" and left < LEAST[6]:
            raise UserError(
                f"subnets[{at}].mtu: {subnet.mtu} leaves {left} bytes to pods through {network.encapsulation}",
                f"use {subnet.mtu + LEAST[6] - left} or more: IPv6 needs {LEAST[6]}",
            )


def _names(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    for name, addresses in names.items():
        try:
            names_zone({name: addresses})
        except ValueError as wrong:
            raise UserError(f"names.{name}: {wrong}", "write NAME: [ADDRESS, …]") from None
    return {name: tuple(addresses) for name, addresses in names.items()}
