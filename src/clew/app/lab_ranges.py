"""The address ranges of a lab: one a family each for pods and services, and the subnets that nodes stand in."""

import re
from collections.abc import Sequence
from ipaddress import ip_network

import msgspec

from clew.app.lab_spec import Families, NodeSpec
from clew.base.addresses import Network
from clew.base.errors import UserError
from clew.cluster.fabric import ROOM, Subnet

KINDS: dict[str, tuple[int, ...]] = {"ipv4": (4,), "ipv6": (6,), "dual": (4, 6)}
_USUAL = {
    "podCIDR": {4: "10.244.0.0/16", 6: "fd00:10:244::/48"},
    "serviceCIDR": {4: "10.96.0.0/12", 6: "fd00:10:96::/112"},
    "subnets": {4: "172.30.0.0/24", 6: "fd00:172:30::/64"},
}
_NODE_MASK = {4: 24, 6: 64}  # of the pods' range a node gets, as kube-controller-manager's defaults
_SERVICES = 32  # addresses that services need at least: the API server's is .1 and DNS's .10
_LEAST_MTU, _MOST_MTU = {4: 576, 6: 1280}, 65535
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")


class SubnetEntry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One item of `subnets:`; `cidr` is one range a family, with a comma between."""

    cidr: str
    name: str = ""
    mtu: int = 1500


def ranges(field: str, given: str, family: Families) -> tuple[str, ...]:
    """`10.0.0.0/16,fd00::/48`, or what is usual, as one checked range a family, in the family's order."""
    texts = [each.strip() for each in given.split(",") if each.strip()]
    if not texts and field in _USUAL:
        texts = _usual(field, family)
    found = [_network(field, text) for text in texts]
    if tuple(each.version for each in found) != KINDS[family]:
        remedy = "write " + ",".join(_usual(field if field in _USUAL else "subnets", family))
        raise UserError(f"{field}: {', '.join(texts) or repr('')} does not fit ipFamily {family}", remedy)
    return tuple(str(each) for each in found)


def subnets(given: Sequence[str | SubnetEntry], family: Families) -> tuple[Subnet, ...]:
    """Checked subnets, each with a name; the usual one where none is given."""
    entries = [SubnetEntry(each) if isinstance(each, str) else each for each in given]
    made: list[Subnet] = []
    for at, entry in enumerate(entries or [SubnetEntry(",".join(_usual("subnets", family)))]):
        where = f"subnets[{at}]"
        name = entry.name or f"subnet-{at + 1}"
        if not _NAME.fullmatch(name):
            raise UserError(f"{where}.name: {name!r} is no name", "use lower case letters, digits and hyphens")
        if name in {each.name for each in made}:
            raise UserError(f"{where}.name: {name!r} is there twice", "give each subnet a name of its own")
        least = max(_LEAST_MTU[kind] for kind in KINDS[family])
        if not least <= entry.mtu <= _MOST_MTU:
            raise UserError(f"{where}.mtu: {entry.mtu} is out of range", f"use {least} to {_MOST_MTU}")
        made.append(Subnet(name, ranges(f"{where}.cidr", entry.cidr, family), entry.mtu))
    return tuple(made)


def check(pods: Sequence[str], services: Sequence[str], subnets: Sequence[Subnet], nodes: Sequence[NodeSpec]) -> None:
    """UserError where a range is too small for its use, or two share addresses."""
    for text in pods:
        network = ip_network(text)
        mask = _NODE_MASK[network.version]
        if network.prefixlen > mask or 1 << (mask - network.prefixlen) < len(nodes):
            raise UserError(f"podCIDR: {text} is too small", f"each of {len(nodes)} nodes takes a /{mask} of it")
    for text in services:
        if ip_network(text).num_addresses < _SERVICES:
            raise UserError(f"serviceCIDR: {text} is too small", f"it needs {_SERVICES} addresses")
    named = [("podCIDR", each) for each in pods] + [("serviceCIDR", each) for each in services]
    for at, subnet in enumerate(subnets):
        named += [(f"subnets[{at}].cidr", each) for each in subnet.cidrs]
        for text in subnet.cidrs:
            if ip_network(text).num_addresses < ROOM:
                remedy = "nodes stand at .11 and up, the outside host at .100"
                raise UserError(f"subnets[{at}].cidr: {text} is too small", remedy)
    _check_overlaps([(field, ip_network(text)) for field, text in named])


def _check_overlaps(found: Sequence[tuple[str, Network]]) -> None:
    for at, (field, one) in enumerate(found):
        for other_field, other in found[at + 1 :]:
            if one.version == other.version and one.overlaps(other):
                raise UserError(
                    f"{field} {one} and {other_field} {other} overlap", "choose ranges apart from each other"
                )


def _usual(field: str, family: Families) -> list[str]:
    return [_USUAL[field][kind] for kind in KINDS[family]]


def _network(field: str, text: str) -> Network:
    try:
        found = ip_network(text)
    except ValueError as error:
        raise UserError(f"{field}: {error}", "write it as 10.244.0.0/16") from None
    if found.is_multicast or found.is_loopback or found.is_link_local or found.is_unspecified or not found.prefixlen:
        raise UserError(f"{field}: {text} is no range for hosts", "use a private one: 10.0.0.0/8, fd00::/8")
    return found
