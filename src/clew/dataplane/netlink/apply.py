"""The node's kernel made as wanted: settings, bridge, ports, routes, in that order.

Holds the differences and does not decide anything. Blocking, and to be called from one thread at a time: node/podnet.py
changes the desired side between runs and calls `sync` in a worker. Ours by mark: links of LINK_GROUP, routes of
ROUTE_PROTO, the bridge by its name; nothing else is ever touched.
"""

import errno
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from clew.base.value import Value
from clew.dataplane.netlink import render, wiring
from clew.dataplane.netlink.objects import (
    BEHIND,
    BIRD_PROTO,
    BRIDGE,
    LEAVING_GROUP,
    LINK_GROUP,
    ROUTE_PROTO,
    BridgeLink,
    NodeRoute,
    Port,
    PortLink,
)
from clew.dataplane.netlink.underlay import Underlay, underlay
from clew.kernel.errors import KernelError
from clew.kernel.inside import Enter
from clew.kernel.netlink import (
    MAIN_TABLE,
    Add,
    AddressChanged,
    Delete,
    Event,
    LinkChanged,
    Overrun,
    Request,
    Route,
    RouteGone,
    RtNetlink,
)
from clew.kernel.sysctl import Settings
from clew.reconcile import DeltaMap


class Outcome(Value):
    """What one run could not do, by the object's name: a link, a destination, `settings`. Empty: all is as wanted."""

    failures: Mapping[str, KernelError]
    missing: tuple[str, ...] = ()  # optional settings that this kernel does not have


class NetlinkPlane:
    """One node's links and routes."""

    def __init__(self, kernel: RtNetlink, settings: Settings, enter: Enter) -> None:
        self._kernel = kernel
        self._settings = settings
        self._enter = enter
        self._bridge: BridgeLink | None = None
        self._families: frozenset[int] = frozenset()
        self._bridge_ready = True  # nothing is known yet, so nothing is touched
        self._namespaces: dict[str, int] = {}
        self._pods: dict[str, Port] = {}
        self._ports: DeltaMap[str, PortLink] = DeltaMap()
        self._routes: DeltaMap[str, NodeRoute] = DeltaMap()
        self._routes_known = False

    @property
    def ports(self) -> DeltaMap[str, PortLink]:
        """The hosts' ends by name."""
        return self._ports

    @property
    def routes(self) -> DeltaMap[str, NodeRoute]:
        """By their keys."""
        return self._routes

    def want_bridge(self, bridge: BridgeLink | None, families: Iterable[int]) -> None:
        """The bridge, or none where pods are routed; and what forwarding in these families needs in either case."""
        wanted = frozenset(families)
        if (bridge, wanted) != (self._bridge, self._families):
            self._bridge, self._families, self._bridge_ready = bridge, wanted, False

    def want_port(self, port: Port) -> None:
        self._pods[port.link.name] = port
        self._ports.want(port.link.name, port.link)

    def drop_port(self, name: str) -> None:
        self._pods.pop(name, None)
        self._ports.want(name, None)

    def lend_namespace(self, name: str, ns: int | None) -> None:
        """A descriptor of the pod's namespace while the caller has it open; without one a port is only kept."""
        if ns is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = ns

    def want_routes(self, routes: Iterable[NodeRoute]) -> None:
        """All of them: call it only when the list of nodes is complete. Until then no route is touched."""
        self._routes_known = True
        self._routes.want_whole({route.key: route for route in routes})

    @property
    def pending(self) -> bool:
        """Whether `sync` has something to do."""
        return not self._bridge_ready or bool(self._ports) or (self._routes_known and bool(self._routes))

    @property
    def lost(self) -> frozenset[str]:
        """Ports that should be and are not, and whose namespace only the runtime knows: they wait for its DEL."""
        return frozenset(name for name in self._ports.updates if not self._can_make(name))

    def underlay(self, addresses: Iterable[str], tunnels: AbstractSet[str] = frozenset()) -> Underlay:
        """What carries the node's own addresses; the links named by `tunnels` have them too, and are not it."""
        return underlay(self._kernel, addresses, tunnels)

    def told(self) -> dict[str, str]:
        """Destinations to which BIRD has entered routes, and by which router."""
        found = self._kernel.routes(proto=BIRD_PROTO, table=MAIN_TABLE)
        return {route.destination: route.via or route.dev for route in found}

    def whole(self) -> frozenset[str]:
        """Links of ours whose pod's end was completed, as of the last `read`."""
        return frozenset(name for name, link in self._ports.actual.items() if link.alias)

    def read(self) -> None:
        """Read everything back; the next `sync` repairs what differs."""
        links = self._kernel.links()
        ours = [link for link in links if link.group in {LINK_GROUP, LEAVING_GROUP}]
        routes = self._kernel.routes(proto=ROUTE_PROTO, table=MAIN_TABLE)
        neighbours = self._kernel.neighbours()
        self._ports.found_whole({link.name: wiring.found_port(link, routes, neighbours) for link in ours})
        names = {link.name for link in ours}  # the routes over these are the ports' own
        found = [_found_route(each) for each in routes if each.dev not in names]
        self._routes.found_whole({route.key: route for route in found})
        if self._bridge is not None:
            self._bridge_ready = wiring.bridge_matches(self._kernel, self._bridge, links)
        elif self._families:
            self._bridge_ready = all(link.name != BRIDGE for link in links)
        self._bridge_ready &= wiring.all_set(self._settings, render.settings(self._families))

    def sync(self) -> Outcome:
        """Do what differs, past refusals; each refused thing keeps its difference for the next run."""
        failures: dict[str, KernelError] = {}
        missing: tuple[str, ...] = ()
        if not self._bridge_ready:
            try:
                missing = self._sync_bridge()
            except KernelError as refusal:
                failures[BRIDGE] = refusal
        failures |= self._remove_ports()
        failures |= self._sync_ports()
        if self._routes_known:
            failures |= self._sync_routes()
        return Outcome(failures, missing)

    def check(self, name: str, ns: int, mac: str = "") -> str:
        """What is wrong with a wanted port and the pod's end of it; empty where nothing is.

        `mac`: what a plugin after us may have given the pod's end in place of ours.
        """
        port = self._pods.get(name)
        if port is None:
            return "it is not attached"
        if name in self._ports.updates:
            return f"the host's link {name} is missing or was changed"
        return self._enter(ns, lambda kernel, _settings: wiring.pod_problem(kernel, port.pod, mac or port.pod.mac))

    def bring_loopback_up(self, ns: int) -> tuple[str, ...]:
        """In the namespace of a descriptor; its addresses. It needs no bridge, and may be done beside a run."""
        return self._enter(ns, lambda kernel, _settings: wiring.loopback_up(kernel))

    def concerns(self, event: Event) -> bool:
        """Whether something happened that may have taken from what is ours, and that was most likely not our doing.

        Of other links every change counts, and of all links that of an address: the kernel drops the routes over one
        that goes down, or from an address that goes, without a word about them. Of ours it counts when one goes; we
        ourselves put a port into the leaving group first.
        """
        match event:
            case LinkChanged(link=link, gone=gone):
                ours = link.group == LINK_GROUP or link.name == BRIDGE or link.name in self._ports.desired
                return link.group != LEAVING_GROUP and (gone or not ours)
            case RouteGone(route=route):
                return route.proto == ROUTE_PROTO
            case AddressChanged() | Overrun():
                return True

    def _sync_bridge(self) -> tuple[str, ...]:
        missing = wiring.set_all(self._settings, render.settings(self._families))
        if self._bridge is not None:
            wiring.make_bridge(self._kernel, self._settings, self._bridge)
        else:
            wiring.remove_bridge(self._kernel, BRIDGE)
        self._bridge_ready = True
        return missing

    def _remove_ports(self) -> dict[str, KernelError]:
        """Those that nobody wants, and of the wanted ones the half made: only the whole can be kept."""
        half = {name for name in self._ports.updates if not self._whole(self._ports.actual.get(name))}
        names = sorted(self._ports.deletions | (half & self._ports.actual.keys()))
        if not names:
            return {}
        refused = wiring.remove_ports(self._kernel, names)
        for name in names:
            if name not in refused:
                self._ports.found(name, None)
        return refused

    def _sync_ports(self) -> dict[str, KernelError]:
        failures = {}
        for name in list(self._ports.updates):
            try:
                if name in self._ports.actual:
                    wiring.repair_port(self._kernel, self._ports.updates[name])
                elif self._can_make(name):
                    wiring.make_port(self._kernel, self._enter, self._pods[name], self._namespaces[name])
                else:
                    continue
            except KernelError as refusal:
                failures[name] = refusal
                self._ports.found(name, wiring.look_for_port(self._kernel, name))
            else:
                self._ports.done(name)
        return failures

    def _can_make(self, name: str) -> bool:
        return name in self._namespaces or self._whole(self._ports.actual.get(name))

    def _whole(self, found: PortLink | None) -> bool:
        """Whether the pod's end was completed: the alias, written last, says so."""
        return found is not None and bool(found.alias) and found.alias == self._alias(found.name)

    def _alias(self, name: str) -> str:
        return self._pods[name].link.alias if name in self._pods else ""

    def _sync_routes(self) -> dict[str, KernelError]:
        """Changes first, then what nobody wants. A route of somebody else's to the same place is not replaced."""
        updates = list(self._routes.updates.values())
        deletions = sorted(self._routes.deletions)
        requests: list[Request] = [
            *(Add(_route(route), replace=route.key in self._routes.actual) for route in updates),
            *(Delete(_gone(self._routes.actual[key])) for key in deletions),
        ]
        names = [*(route.key for route in updates), *deletions]
        failures = {}
        for name, refusal in zip(names, self._kernel.attempt(requests), strict=True):
            if refusal is None or (name in self._routes.deletions and refusal.absent):
                self._routes.done(name)
            else:
                failures[name] = _explained(refusal)
        return failures


def _route(route: NodeRoute) -> Route:
    if route.nobody:
        return Route(route.destination, kind="unreachable", proto=ROUTE_PROTO)
    onlink = bool(route.dev and route.via)
    way = Route(route.destination, via=route.via, dev=route.dev, onlink=onlink, proto=ROUTE_PROTO)
    return replace(way, source=route.source, mtu=route.mtu, metric=BEHIND if route.behind else 0)


def _gone(route: NodeRoute) -> Route:
    """As little as tells it from others': whatever way it has by now."""
    metric = BEHIND if route.behind else 0
    return Route(route.destination, kind="unreachable" if route.nobody else "unicast", metric=metric, proto=ROUTE_PROTO)


def _found_route(route: Route) -> NodeRoute:
    """Where the way is no tunnel (`onlink`, or without a gateway), the kernel chose link and source by itself."""
    if route.kind == "unreachable":
        return NodeRoute(route.destination, "", nobody=True)
    if route.via and not route.onlink:
        return NodeRoute(route.destination, route.via, mtu=route.mtu, behind=route.metric == BEHIND)
    return NodeRoute(route.destination, route.via, route.dev, route.source, route.mtu)


def _explained(refusal: KernelError) -> KernelError:
    if refusal.number == errno.EEXIST:
        detail = "there is a route to it that is not Clew's; it stays"
    elif refusal.number in {errno.ENETUNREACH, errno.EHOSTUNREACH}:
        detail = "the node's address is not on a network of this node; routing without a tunnel needs that"
    else:
        return refusal
    return KernelError(refusal.number, refusal.what, index=refusal.index, detail=detail)
