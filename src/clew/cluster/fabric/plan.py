"""The fabric as data: who is on it, with which addresses. Pure."""

from collections.abc import Sequence
from ipaddress import ip_interface, ip_network

from clew.base.value import Value

OUTSIDE = "outside"
FABRIC = "fabric"
_FIRST_NODE, _OUTSIDE_AT, _ROUTER_AT = 11, 100, 1


class Host(Value):
    """One machine on the switch; addresses with their prefix length, the primary family first."""

    name: str
    addresses: tuple[str, ...]

    @property
    def ips(self) -> tuple[str, ...]:
        return tuple(str(ip_interface(each).ip) for each in self.addresses)


class Fabric(Value):
    """A switch whose own addresses are the router's; every host's default route leads there."""

    router: tuple[str, ...]
    nodes: tuple[Host, ...]
    outside: Host

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (*self.nodes, self.outside)

    @property
    def router_ips(self) -> tuple[str, ...]:
        return tuple(str(ip_interface(each).ip) for each in self.router)


def plan(nodes: Sequence[str], subnets: Sequence[str]) -> Fabric:
    """Addresses for everybody: the router .1, the nodes from .11, the outside host .100, in each family's subnet."""
    networks = [ip_network(subnet) for subnet in subnets]

    def at(number: int) -> tuple[str, ...]:
        return tuple(f"{net.network_address + number}/{net.prefixlen}" for net in networks)

    hosts = tuple(Host(name, at(_FIRST_NODE + index if index < 89 else index + 12)) for index, name in enumerate(nodes))
    return Fabric(at(_ROUTER_AT), hosts, Host(OUTSIDE, at(_OUTSIDE_AT)))
