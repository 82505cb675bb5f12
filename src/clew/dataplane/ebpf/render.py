"""From load balancing, settings and the node's surface to entries of maps. Pure but for the numbers that it draws.

Called by dataplane/ebpf/programme: once per service port that changed, and once per change of settings or surface.
"""

from ipaddress import ip_address, ip_network
from typing import Literal

from clew.base.value import Value
from clew.dataplane.ebpf import layout
from clew.dataplane.ebpf.layout import (
    ADDRESSES,
    CLUSTER_IPS,
    ENDPOINTS,
    FLAGS,
    FRONTENDS,
    IPV6_SETS,
    LINKS,
    MEMBERS,
    NAMES,
    NODES,
    PODS,
    PRESENT,
    RANGES,
    Flag,
    NodeFlag,
)
from clew.dataplane.ebpf.objects import Surface
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.marks import REFUSED
from clew.ir.proxying import Settings
from clew.reconcile.numbers import Numbers

Entries = dict[str, dict[bytes, bytes]]
Scope = Literal["cluster", "local"]
EXTERNAL, LOCAL, RESTRICTED, SERVED = map(int, (Flag.EXTERNAL, Flag.LOCAL, Flag.RESTRICTED, Flag.SERVED))
UNTRANSLATED = "SCTP"  # connection tracking enters no flow of it for a program: all its packets are the tables'
UNASKED = "UDP"  # what a connected socket sends asks no program; the node's own arrives at no device either


class Contribution(Value):
    """What one balancer puts into the maps, and the names of sets that it needs numbers for."""

    entries: Entries
    sets: tuple[str, ...]


def is_left_to_tables(balancer: Balancer) -> bool:
    """Whether some of its packets are for the tables in nftables that stand behind the programs."""
    return any(frontend.protocol in {UNTRANSLATED, UNASKED} for frontend in balancer.frontends)


def contribution(balancer: Balancer, numbers: Numbers) -> Contribution:
    """The entries of one service port in its family; numbers are drawn where its sets have none yet."""
    return _Port(balancer, numbers).render()


class _Port:
    def __init__(self, balancer: Balancer, numbers: Numbers) -> None:
        self._balancer, self._numbers = balancer, numbers
        self._entries: Entries = {}
        self._used: dict[Scope, tuple[str, int, int]] = {}  # name of the set, its number, how many backends

    def render(self) -> Contribution:
        for frontend in self._balancer.frontends:
            self._frontend(frontend)
        return Contribution(self._entries, tuple(name for name, _, _ in self._used.values()))

    def _put(self, name: str, key: bytes, value: bytes = PRESENT) -> None:
        self._entries.setdefault(name, {})[key] = value

    def _frontend(self, frontend: Frontend) -> None:
        balancer, external = self._balancer, frontend.scope == "external"
        if external:
            if frontend.protocol == UNTRANSLATED:
                return  # to programs it is like any other address
        else:
            self._put(CLUSTER_IPS, layout.pack_address(frontend.address))
            if not balancer.any_backend:
                return  # refused like every other port that the cluster address does not have
        key = layout.pack_frontend_key(balancer.family, frontend.address, frontend.protocol, frontend.port)
        self._put(FRONTENDS, key, layout.pack_frontend(self._leads(frontend, external=external)))
        for prefix in frontend.sources or ():
            self._put(RANGES, layout.pack_prefix(prefix, key))

    def _leads(self, frontend: Frontend, *, external: bool) -> layout.Frontend:
        balancer, local = self._balancer, frontend.policy == "Local"
        flags = (EXTERNAL if external else 0) | (LOCAL if local else 0)
        flags |= 0 if frontend.sources is None else RESTRICTED
        if not balancer.any_backend:
            return layout.Frontend(flags=FLAGS[flags])
        if frontend.protocol == UNTRANSLATED:
            return layout.Frontend(flags=Flag.BY_TABLES)
        everywhere = self._set("cluster") if external or not local else (0, 0)
        here = self._set("local") if local else (0, 0)
        return layout.Frontend(
            everywhere[0], here[0], everywhere[1], here[1], balancer.affinity, FLAGS[flags | SERVED]
        )  # fmt: skip

    def _set(self, scope: Scope) -> tuple[int, int]:
        """Number and length of a set; its own entries, the first time."""
        balancer = self._balancer
        if scope not in self._used:
            backends = balancer.cluster if scope == "cluster" else balancer.local
            if not backends:
                return 0, 0
            name = balancer.origin if scope == "cluster" else f"{balancer.origin} local"
            number = self._numbers.of(name) | (IPV6_SETS if balancer.family == 6 else 0)
            self._used[scope] = name, number, len(backends)
            self._put(NAMES, layout.pack_number(number), layout.pack_name(name))
            self._members(number, backends)
        _, number, count = self._used[scope]
        return number, count

    def _members(self, number: int, backends: tuple[Backend, ...]) -> None:
        balancer = self._balancer
        endpoints = [layout.pack_endpoint(backend.address, backend.port) for backend in backends]
        places = {layout.pack_place(number, index): endpoint for index, endpoint in enumerate(endpoints)}
        self._entries.setdefault(ENDPOINTS, {}).update(places)
        if balancer.affinity or any(frontend.protocol == "UDP" for frontend in balancer.frontends):
            head = layout.pack_number(number)
            self._entries.setdefault(MEMBERS, {}).update(dict.fromkeys([head + each for each in endpoints], PRESENT))


def surroundings(settings: Settings, surface: Surface) -> Entries:
    """What does not depend on services."""
    flags = NodeFlag.MASQUERADE_ALL if settings.masquerade_all else NodeFlag(0)
    if settings.pod_interface:
        flags |= NodeFlag.KNOWS_PODS | NodeFlag.PODS_BY_LINK
    elif settings.pod_cidrs:
        flags |= NodeFlag.KNOWS_PODS
    address = settings.node_addresses[0] if settings.node_addresses else ""
    node = layout.Node(surface.cookie, address, flags, REFUSED.mask)
    return {
        NODES: {layout.index_of(settings.family): layout.pack_node(node)},
        PODS: {layout.pack_prefix(prefix): PRESENT for prefix in settings.pod_cidrs},
        ADDRESSES: {layout.pack_address(each): PRESENT for each in surface.addresses if _has_ports(settings, each)},
        LINKS: {
            layout.pack_number(device.index): PRESENT
            for device in surface.devices
            if settings.pod_interface and _matches(device.shown, settings.pod_interface)
        },
    }


def _has_ports(settings: Settings, address: str) -> bool:
    found = ip_address(address)
    if found.version != settings.family or found.is_loopback:
        return False
    prefixes = settings.node_port_addresses
    return not prefixes or any(found in ip_network(prefix) for prefix in prefixes)


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
