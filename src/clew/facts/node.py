"""A Node, trimmed to what networking needs: where it is reached, which pod addresses are its own, where it stands.

Heartbeats and capacity end here, so that a node that only says "still alive" changes no fact. Called by reflectors
(`decode`) and tests (`from_api`); read by compile and by the proxy's topology.

Addresses and ranges are looked at here, at the door: an API server takes any text for an address, and a range with host
bits. What is none is left out and named in `wrong`; the rest is in the kernel's own spelling.

Source: Kubernetes API v1 Node; well-known labels and taints of the cluster autoscaler.
"""

import base64
from typing import Any

import msgspec

from clew.base.addresses import address, family_of, network
from clew.base.value import Value
from clew.facts import ipsec as standings
from clew.facts.ipsec import Standing
from clew.facts.partial import Labels, Named, Partial, decode_partial

ZONE_LABEL = "topology.kubernetes.io/zone"
KEY_ANNOTATION = "clew.dev/wireguard-public-key"  # written by each node's agent
IPAM_ANNOTATION = "clew.dev/ipam"  # written by each node's agent: where its pods' addresses come from
POOLS = "pools"  # and what it says where that is IPPools, and what the node had before is entered in IPAMBlocks
KEY_BYTES = 32
GOING_TAINT = "ToBeDeletedByClusterAutoscaler"

Wrong = list[tuple[str, str]]


class Node(Value):
    name: str
    internal_ips: tuple[str, ...] = ()  # at most one a family matters; the first of each is the node's own
    external_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()  # empty until the cluster has given it a range
    zone: str = ""
    going: bool = False  # being deleted, or about to be: load balancers should stop sending
    wireguard_key: str = ""  # public; empty until the node's agent has published one
    ipsec: Standing | None = None  # None until the node's agent has published where it stands
    labels: tuple[tuple[str, str], ...] = ()  # in the order of their names
    ipam: str = ""  # POOLS, or nothing
    wrong: tuple[tuple[str, str], ...] = ()  # fields that say what cannot be, and why

    @property
    def key(self) -> tuple[str, str]:
        return "", self.name

    @property
    def origin(self) -> str:
        return f"Node {self.name}"

    def internal_ip(self, family: int) -> str:
        """The node's own address of a family (4, 6); "" where it has none."""
        return next((ip for ip in self.internal_ips if family_of(ip) == family), "")


class _Meta(Partial):
    name: str
    labels: Labels = None
    annotations: Labels = None
    deletion_timestamp: str | None = None


class _Taint(Partial):
    key: str = ""


class _Spec(Partial):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default=None, name="podCIDRs")
    taints: list[_Taint] | None = None


class _Address(Partial):
    type: str = ""
    address: str = ""


class _Status(Partial):
    addresses: list[_Address] | None = None


class _Node(Partial):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


def from_api(obj: bytes | dict[str, Any]) -> Node:
    """The fact in a v1.Node, given as JSON or decoded; ValueError names the field that has another type."""
    return _fact(decode_partial(obj, _Node))


def decode(data: bytes) -> tuple[tuple[str, str], Node | None]:
    """For a reflector: key and fact. An object whose fields have other types becomes a fact that says so."""
    try:
        node = _fact(decode_partial(data, _Node))
    except ValueError as wrong:
        node = Node(decode_partial(data, Named).metadata.name, wrong=(("object", str(wrong)),))
    return node.key, node


def _fact(obj: _Node) -> Node:
    meta, spec = obj.metadata, obj.spec
    wrong: Wrong = []
    addresses = _addresses(obj.status.addresses or [], wrong)
    ranges = spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else [])
    taints = {taint.key for taint in spec.taints or ()}
    said = meta.annotations or {}
    return Node(
        name=meta.name,
        internal_ips=tuple(ip for kind, ip in addresses if kind == "InternalIP"),
        external_ips=tuple(ip for kind, ip in addresses if kind == "ExternalIP"),
        pod_cidrs=_ranges(ranges, wrong),
        zone=(meta.labels or {}).get(ZONE_LABEL, ""),
        wireguard_key=_public_key(said.get(KEY_ANNOTATION, ""), wrong),
        ipsec=standings.standing(said.get(standings.ANNOTATION, "")),
        going=meta.deletion_timestamp is not None or GOING_TAINT in taints,
        labels=tuple(sorted((meta.labels or {}).items())),
        ipam=said.get(IPAM_ANNOTATION, ""),
        wrong=tuple(wrong),
    )


def _addresses(listed: list[_Address], wrong: Wrong) -> list[tuple[str, str]]:
    """(type, address) of those by which a node can be reached; the others go to `wrong`."""
    found = []
    for place, each in enumerate(listed):
        if each.type not in {"InternalIP", "ExternalIP"}:
            continue
        field = f"status.addresses[{place}].address"
        try:
            ip = address(each.address)
        except ValueError as problem:
            wrong.append((field, str(problem)))
            continue
        if ip.is_unspecified or ip.is_multicast or ip.is_loopback or ip.is_link_local:
            wrong.append((field, f"{ip} is no address by which other nodes reach it"))
        else:
            found.append((each.type, str(ip)))
    return found


def _public_key(text: str, wrong: Wrong) -> str:
    """As `wg` prints one; the kernel would take none of a whole batch where one of its keys is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) == KEY_BYTES and base64.b64encode(raw).decode() == text:
        return text
    if text:
        wrong.append((f"metadata.annotations[{KEY_ANNOTATION}]", f"{text!r} is no WireGuard key"))
    return ""


def _ranges(listed: list[str], wrong: Wrong) -> tuple[str, ...]:
    found = []
    for place, text in enumerate(listed):
        try:
            found.append(str(network(text)))
        except ValueError as problem:
            wrong.append((f"spec.podCIDRs[{place}]", str(problem)))
    return tuple(found)
