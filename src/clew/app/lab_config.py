"""What a lab is to be: flags and one YAML document `kind: Lab`, checked before anything is made."""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from clew.app import kube_proxy_config
from clew.base.errors import UserError
from clew.base.value import Value

Families = Literal["ipv4", "ipv6", "dual"]
_POD = {"4": "10.244.0.0/16", "6": "fd00:10:244::/48"}
_SERVICE = {"4": "10.96.0.0/12", "6": "fd00:10:96::/112"}
_UNDERLAY = {"4": "172.30.0.0/24", "6": "fd00:172:30::/64"}
_MOST_NODES = 80
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class LabSpec(Value):
    """A complete lab. Ranges have one entry a family, the primary first."""

    name: str = "clew"
    nodes: tuple[str, ...] = ("node-1", "node-2", "node-3")
    family: Families = "ipv4"
    pod_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    service_cidrs: tuple[str, ...] = ("10.96.0.0/12",)
    subnets: tuple[str, ...] = ("172.30.0.0/24",)
    names: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)  # of the outside host
    proxy: dict[str, Any] = msgspec.field(default_factory=dict)  # a KubeProxyConfiguration


class _Document(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    api_version: str = "clew.dev/v1alpha1"
    kind: str = "Lab"
    nodes: int | list[str] = 3
    ip_family: Families = "ipv4"
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    service_cidr: str = msgspec.field(default="", name="serviceCIDR")
    subnets: list[str] = []
    names: dict[str, list[str]] = {}
    proxy: dict[str, Any] = {}
    network: str = "host-gw"


def read_spec(name: str, path: Path | None, flags: dict[str, Any]) -> LabSpec:
    """The file with the flags over it; UserError names the field that is wrong."""
    document = _read(path) if path else _Document()
    for field, value in flags.items():
        if value is not None:
            setattr(document, field, value)
    return _spec(name, document)


def _read(path: Path) -> _Document:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "name the lab's file by --config") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(found, dict) or found.get("kind") != "Lab":
        raise UserError(f"{path} is no lab", "it must be one YAML document with kind: Lab")
    try:
        return msgspec.convert(found, _Document)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {error}", "fields: nodes ipFamily podCIDR serviceCIDR subnets names proxy") from None


def _spec(name: str, document: _Document) -> LabSpec:
    if not name or len(name) > 40 or not all(char.isalnum() or char == "-" for char in name):
        raise UserError(f"a lab cannot be called {name!r}", "use letters, digits and hyphens")
    if document.network != "host-gw":
        raise UserError(f"network: {document.network!r} is not there", "host-gw is the network that this version has")
    try:
        kube_proxy_config.parse(document.proxy)
    except UserError as wrong:
        raise UserError(f"proxy: {wrong.message}", wrong.remedy) from None
    nodes = document.nodes
    if isinstance(nodes, int):
        if not 1 <= nodes <= _MOST_NODES:
            raise UserError(f"nodes: {nodes} is out of range", f"use 1 to {_MOST_NODES}")
        nodes = [f"node-{number + 1}" for number in range(nodes)]
    _check_names(nodes)
    if document.api_version != "clew.dev/v1alpha1":
        raise UserError(f"apiVersion: {document.api_version!r} is not known", "write clew.dev/v1alpha1")
    kinds = {"ipv4": "4", "ipv6": "6", "dual": "46"}[document.ip_family]

    def ranges(field: str, given: str, usual: dict[str, str]) -> tuple[str, ...]:
        texts = [each.strip() for each in given.split(",") if each.strip()] or [usual[kind] for kind in kinds]
        return tuple(str(_network(field, text)) for text in texts)

    spec = LabSpec(
        name, tuple(nodes), document.ip_family, ranges("podCIDR", document.pod_cidr, _POD),
        ranges("serviceCIDR", document.service_cidr, _SERVICE),
        ranges("subnets", ",".join(document.subnets), _UNDERLAY),
        {key: tuple(value) for key, value in document.names.items()}, document.proxy,
    )  # fmt: skip
    for field, texts in (("podCIDR", spec.pod_cidrs), ("serviceCIDR", spec.service_cidrs), ("subnets", spec.subnets)):
        if [str(ip_network(text).version) for text in texts] != list(kinds):
            raise UserError(f"{field}: {', '.join(texts)} does not fit ipFamily {spec.family}", "one range a family")
    for text in spec.subnets:
        if ip_network(text).num_addresses < 128:
            raise UserError(f"subnets: {text} is too small", "nodes stand at .11 and up, the outside host at .100")
    _check_overlaps(spec)
    return spec


def _check_names(nodes: Sequence[str]) -> None:
    """Names become host names and folders: nothing but a label may pass."""
    for at, name in enumerate(nodes):
        if not _LABEL.fullmatch(name) or name in {"outside", "fabric", "exec"}:
            raise UserError(f"nodes[{at}]: {name!r} is no node name", "use lower case letters, digits and hyphens")
        if name in nodes[:at]:
            raise UserError(f"nodes[{at}]: {name!r} is there twice", "give each node a name of its own")


def _network(field: str, text: str) -> Any:
    try:
        return ip_network(text)
    except ValueError as error:
        raise UserError(f"{field}: {error}", "write it as 10.244.0.0/16") from None


def _check_overlaps(spec: LabSpec) -> None:
    ranges = [
        (field, ip_network(text))
        for field, texts in (
            ("podCIDR", spec.pod_cidrs),
            ("serviceCIDR", spec.service_cidrs),
            ("subnets", spec.subnets),
        )
        for text in texts
    ]
    for at, (field, one) in enumerate(ranges):
        for other_field, other in ranges[at + 1 :]:
            if one.version == other.version and one.overlaps(other):
                raise UserError(
                    f"{field} {one} and {other_field} {other} overlap", "choose ranges apart from each other"
                )
