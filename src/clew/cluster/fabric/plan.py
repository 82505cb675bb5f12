"""The fabric as data: which switches there are, who is on which, with which addresses. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface, ip_network

from clew.base.value import Value

OUTSIDE = "outside"
FABRIC = "fabric"
RESERVED = frozenset({OUTSIDE, FABRIC, "exec", "daemon"})  # names that no node may have: hosts and control groups
MOST_NODES = 80
ROOM = 128  # addresses that a subnet needs at least
_FIRST_NODE, _OUTSIDE_AT, _ROUTER_AT = 11, 100, 1


class Subnet(Value):
    """A segment of the network: one switch, a range a family (the primary first), the links' MTU."""

    name: str
    cidrs: tuple[str, ...]
    mtu: int = 1500


class Switch(Value):
    """A subnet made: a bridge whose own addresses are the router's."""

    name: str
    router: tuple[str, ...]  # with prefix lengths
    mtu: int


class Host(Value):
    """One machine on a switch; addresses with their prefix length, the primary family first."""

    name: str
    addresses: tuple[str, ...]
    switch: Switch
    port: str  # the switch's end of its cable

    @property
    def mac(self) -> str:
        """Of its card: the same when the machine was off, so that its neighbours find it at once."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))

    @property
    def ips(self) -> tuple[str, ...]:
        return tuple(str(ip_interface(each).ip) for each in self.addresses)

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(str(ip_interface(each).ip) for each in self.switch.router)


class Fabric(Value):
    """Switches joined by one router; every host's default route leads to its own switch's address."""

    switches: tuple[Switch, ...]
    nodes: tuple[Host, ...]
    outside: Host

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (*self.nodes, self.outside)

    @property
    def router_ips(self) -> tuple[str, ...]:
        """The router's addresses in every subnet, the first subnet's first."""
        return tuple(str(ip_interface(each).ip) for switch in self.switches for each in switch.router)

    def host(self, name: str) -> Host:
        """KeyError where there is none of that name."""
        for each in self.hosts:
            if each.name == name:
                return each
        raise KeyError(name)


def plan(nodes: Mapping[str, str], subnets: Sequence[Subnet]) -> Fabric:
    """Addresses for everybody: in each subnet the router .1, the nodes from .11; the outside host .100 of the first.

    `nodes` tells each node's subnet by name; an empty name is the first one.
    """
    switches = {
        each.name: Switch(f"switch{index}", _at(each, _ROUTER_AT), each.mtu) for index, each in enumerate(subnets)
    }
    by_name = {each.name: each for each in subnets}
    taken = dict.fromkeys(by_name, 0)
    hosts = []
    for index, (name, where) in enumerate(nodes.items()):
        subnet = by_name[where or subnets[0].name]
        addresses = _at(subnet, _FIRST_NODE + taken[subnet.name])
        taken[subnet.name] += 1
        hosts.append(Host(name, addresses, switches[subnet.name], f"port{index}"))
    outside = Host(OUTSIDE, _at(subnets[0], _OUTSIDE_AT), switches[subnets[0].name], OUTSIDE)
    return Fabric(tuple(switches.values()), tuple(hosts), outside)


def _at(subnet: Subnet, number: int) -> tuple[str, ...]:
    networks = [ip_network(each) for each in subnet.cidrs]
    return tuple(f"{each.network_address + number}/{each.prefixlen}" for each in networks)
