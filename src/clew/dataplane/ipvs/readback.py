"""What the kernel holds of this mode, read back: sets, virtual servers, addresses of the device, rules.

Ours among the virtual servers are those whose address the device carries, those that one of our sets names, and those
on a node's address at a port that our sets name; never one inside of excludeCIDRs. Everything else is somebody else's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from clew.base.addresses import Family, family_of
from clew.base.xtables import Ruleset, read
from clew.dataplane.ipvs.objects import (
    ADDRESSED,
    DEVICE,
    KINDS,
    NODE_PORTS,
    At,
    State,
    VirtualKey,
    VirtualServer,
    place,
    set_name,
)
from clew.ir.proxying import Settings
from clew.kernel import ipvs as kernel
from clew.kernel.ipset import IpSets
from clew.kernel.iptables import Iptables
from clew.kernel.ipvs import Ipvs
from clew.kernel.netlink import RtNetlink
from clew.kernel.sysctl import Settings as Sysctls

TABLES = ("nat", "filter", "mangle")


@dataclass(frozen=True)
class Ports:
    """The kernel of one network namespace, as far as this mode uses it."""

    ipvs: Ipvs
    ipsets: IpSets
    iptables: Iptables
    links: RtNetlink
    sysctls: Sysctls

    def close(self) -> None:
        for each in (self.ipvs, self.ipsets, self.iptables, self.links):
            each.close()


def read_state(ports: Ports, settings: Settings) -> State:
    """All of ours in one family. KernelError: something could not be read."""
    sets = _sets(ports, settings)
    carried = frozenset(device_addresses(ports, settings))
    servers: dict[VirtualKey, VirtualServer] = {}
    reals: dict[VirtualKey, dict[At, int]] = {}
    for key, server in ports.ipvs.servers().items():
        mine: VirtualKey = (key.protocol, key.address, key.port)
        if key.family == settings.family and is_ours(mine, settings, sets, carried):
            servers[mine] = VirtualServer(server.scheduler, server.persistence, server.port_in_hash)
            reals[mine] = {real.at: real.weight for real in ports.ipvs.real_servers(key)}
    return State(read_rules(ports.iptables, settings.family), sets, carried, servers, reals)


def read_rules(iptables: Iptables, family: Family) -> Ruleset:
    """What the tables hold that this mode writes to; none is made by looking."""
    there = iptables.tables(family)
    texts = (iptables.save(family, name) for name in TABLES if name in there)
    return {table: chains for text in texts for table, chains in read(text).items()}


def node_addresses(ports: Ports, settings: Settings) -> frozenset[str]:
    """What the node's links carry, but for the device."""
    return frozenset(
        bare
        for each in ports.links.addresses()
        if each.dev != DEVICE and family_of(bare := each.address.split("/")[0]) == settings.family
    )


def device_addresses(ports: Ports, settings: Settings) -> Iterable[str]:
    for each in ports.links.addresses():
        bare = each.address.split("/")[0]
        if each.dev == DEVICE and family_of(bare) == settings.family and not each.link_local:
            yield bare


def kernel_key(key: VirtualKey, settings: Settings) -> kernel.VirtualKey:
    return kernel.VirtualKey(settings.family, *key)


def is_ours(key: VirtualKey, settings: Settings, sets: Mapping[str, frozenset[str]], carried: frozenset[str]) -> bool:
    protocol, address, port = key
    if is_excluded(address, settings):
        return False
    if address in carried:
        return True
    if any(place(key) in sets.get(set_name(name, settings.family), ()) for name in ADDRESSED):
        return True
    ports, _ = NODE_PORTS[protocol]
    return str(port) in sets.get(set_name(ports, settings.family), ())


def is_excluded(address: str, settings: Settings) -> bool:
    """Whether somebody else keeps virtual servers on this address (ipvs.excludeCIDRs)."""
    return any(
        ip_address(address) in ip_network(prefix, strict=False)
        for prefix in settings.ipvs.exclude_cidrs
        if family_of(prefix) == settings.family
    )


def _sets(ports: Ports, settings: Settings) -> dict[str, frozenset[str]]:
    there = ports.ipsets.sets()
    names = (set_name(name, settings.family) for name in KINDS)
    return {name: frozenset(ports.ipsets.entries(name)) for name in names if name in there}
