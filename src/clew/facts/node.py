"""A Node, trimmed to what networking needs: where it is reached, which pod addresses are its own, where it stands.

Heartbeats and capacity end here, so that a node that only says "still alive" changes no fact. Called by reflectors
(`decode`) and tests (`from_api`); read by compile and by the proxy's topology.

Source: Kubernetes API v1 Node; well-known labels and taints of the cluster autoscaler.
"""

from typing import Any

import msgspec

from clew.base.addresses import family_of
from clew.base.value import Value
from clew.facts import ipsec as standings
from clew.facts.ipsec import Standing
from clew.facts.partial import Labels, Named, Partial, decode_partial

ZONE_LABEL = "topology.kubernetes.io/zone"
KEY_ANNOTATION = "clew.dev/wireguard-public-key"  # written by each node's agent
GOING_TAINT = "ToBeDeletedByClusterAutoscaler"


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
    malformed: str = ""

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
        node = Node(decode_partial(data, Named).metadata.name, malformed=str(wrong))
    return node.key, node


def _fact(obj: _Node) -> Node:
    meta, spec = obj.metadata, obj.spec
    addresses = obj.status.addresses or []
    taints = {taint.key for taint in spec.taints or ()}
    said = meta.annotations or {}
    return Node(
        name=meta.name,
        internal_ips=tuple(address.address for address in addresses if address.type == "InternalIP"),
        external_ips=tuple(address.address for address in addresses if address.type == "ExternalIP"),
        pod_cidrs=tuple(spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else [])),
        zone=(meta.labels or {}).get(ZONE_LABEL, ""),
        wireguard_key=said.get(KEY_ANNOTATION, ""),
        ipsec=standings.standing(said.get(standings.ANNOTATION, "")),
        going=meta.deletion_timestamp is not None or GOING_TAINT in taints,
        labels=tuple(sorted((meta.labels or {}).items())),
    )
