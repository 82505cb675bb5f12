"""A complete lab as a value: what lab_config makes of flags and a file, and what is kept in the lab's state."""

from typing import Any, Literal

import msgspec

from clew.app.dns_config import DnsConfiguration
from clew.app.lab_state import SPEC
from clew.app.network_config import NetworkConfiguration
from clew.base.errors import UserError
from clew.base.value import Value
from clew.cluster.fabric import Fabric, Subnet, plan
from clew.cluster.paths import LabPaths

Families = Literal["ipv4", "ipv6", "dual"]


class Taint(Value, forbid_unknown_fields=True):
    """As in a Node's spec."""

    key: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    value: str = ""


class NodeSpec(Value):
    """A node to be made; `subnet` is never empty."""

    name: str
    subnet: str
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    max_pods: int = 110


class LabSpec(Value):
    """A complete lab. Ranges have one entry a family, the primary first."""

    name: str = "clew"
    nodes: tuple[NodeSpec, ...] = ()
    family: Families = "ipv4"
    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    names: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)  # of the outside host
    proxy: dict[str, Any] = msgspec.field(default_factory=dict)  # a KubeProxyConfiguration
    network: NetworkConfiguration = msgspec.field(default_factory=NetworkConfiguration)
    dns: DnsConfiguration = msgspec.field(default_factory=DnsConfiguration)

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.nodes)

    def fabric(self) -> Fabric:
        return plan({each.name: each.subnet for each in self.nodes}, self.subnets)


CHANGEABLE = frozenset({"network", "proxy"})  # what a lab that is there can have otherwise
FIELDS = {"family": "ipFamily", "pod_cidrs": "podCIDR", "service_cidrs": "serviceCIDR"}  # as the file names them


def differences(one: LabSpec, other: LabSpec) -> list[str]:
    """The fields in which two labs differ."""
    return [field for field in one.__struct_fields__ if getattr(one, field) != getattr(other, field)]


def stored_spec(paths: LabPaths) -> LabSpec | None:
    """The shape with which the lab was made; None where there is none. UserError where it cannot be read."""
    try:
        return msgspec.json.decode((paths.state / SPEC).read_bytes(), type=LabSpec)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        remedy = f"remove the lab: clew down --name {paths.name}"
        raise UserError(f"{paths.state / SPEC} is damaged or of another version of Clew", remedy) from None


def the_spec(paths: LabPaths) -> LabSpec:
    """The same; UserError where there is no such lab."""
    spec = stored_spec(paths)
    if spec is None:
        raise UserError(f"there is no lab {paths.name}", f"try: clew up --name {paths.name}, or clew ls")
    return spec
