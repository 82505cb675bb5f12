"""A namespace's links, addresses, routes and neighbours in memory, refusing what the kernel refuses.

For tests without root. It passes the suite of the real socket (tests/ports/test_netlink.py) and is no wider than that
suite: no local table, no link-local addresses, no carrier. `refuse` injects a busy world.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network

from msgspec.structs import replace

from clew.kernel.errors import KernelError
from clew.kernel.netlink import wire
from clew.kernel.netlink.requests import Add, Delete, DeleteGroup, Request, SetLink
from clew.kernel.netlink.values import (
    MAIN_TABLE,
    PROTO_KERNEL,
    Address,
    Bridge,
    Fdb,
    Filter,
    Link,
    Neighbour,
    Qdisc,
    Redirect,
    Route,
    Rule,
    Thing,
    Veth,
    clsact,
)

MIN_MTU = 68


class FakeNetlink:
    """One namespace. `namespaces` maps the descriptors that requests carry to the namespaces they mean."""

    def __init__(self, namespaces: Mapping[int, "FakeNetlink"] | None = None) -> None:
        self._namespaces = namespaces if namespaces is not None else {}
        self._links: dict[str, Link] = {"lo": Link("lo", mtu=65536, mac="00:00:00:00:00:00", index=1)}
        self.peers: dict[str, tuple[FakeNetlink, str]] = {}
        self._addresses: dict[tuple[str, str], Address] = {}
        self._routes: dict[tuple[int, str, int], Route] = {}
        self._neighbours: dict[tuple[str, str], Neighbour] = {}
        self._fdb: dict[tuple[str, str], Fdb] = {}
        self._rules: dict[tuple[int, int, str], Rule] = {}
        self._qdiscs: dict[tuple[str, int], Qdisc] = {}
        self._filters: dict[tuple[str, str, int, int], Filter] = {}
        self._redirects: dict[tuple[str, int], Redirect] = {}
        self._next_index = 2
        self.refuse: Callable[[Request], int] = lambda _request: 0  # errno to answer with instead of acting

    def request(self, batch: Sequence[Request]) -> None:
        for answer in self.attempt(batch):
            if answer is not None:
                raise answer

    def attempt(self, batch: Sequence[Request]) -> list[KernelError | None]:
        return [self._try(place, request) for place, request in enumerate(batch)]

    def link(self, name: str) -> Link | None:
        return next((link for link in self._links.values() if name == link.name or name in link.altnames), None)

    def links(self) -> list[Link]:
        return list(self._links.values())

    def addresses(self) -> list[Address]:
        return list(self._addresses.values())

    def routes(self, *, proto: int = 0, table: int = 0) -> list[Route]:
        found = self._routes.values()
        return [r for r in found if (not proto or r.proto == proto) and (not table or r.table == table)]

    def neighbours(self) -> list[Neighbour]:
        return list(self._neighbours.values())

    def fdb(self) -> list[Fdb]:
        return list(self._fdb.values())

    def rules(self) -> list[Rule]:
        return list(self._rules.values())

    def qdiscs(self) -> list[Qdisc]:
        return list(self._qdiscs.values())

    def filters(self, dev: str) -> list[Filter]:
        return [entry for entry in self._filters.values() if entry.dev == dev]

    def redirects(self, dev: str) -> list[Redirect]:
        return [entry for entry in self._redirects.values() if entry.dev == dev]

    def close(self) -> None:
        """Nothing to let go of."""

    def _try(self, place: int, request: Request) -> KernelError | None:
        if number := self.refuse(request):
            return KernelError(number, str(request), index=place)
        try:
            self._do(request)
        except _Refused as refusal:
            return KernelError(refusal.number, str(request), index=place, detail=refusal.detail)
        return None

    def _do(self, request: Request) -> None:
        match request:
            case Add(thing=thing, replace=over):
                self._add(thing, over=over)
            case Delete(thing=thing):
                self._delete(thing)
            case DeleteGroup(group=group):
                for name in [link.name for link in self._links.values() if link.group == group]:
                    self.drop_link(name)
            case SetLink():
                self._set(request)

    def _add(self, thing: Thing, *, over: bool) -> None:
        match thing:
            case Link():
                self._add_link(thing)
            case Address():
                self._add_address(thing, over=over)
            case Route():
                self._add_route(thing, over=over)
            case Neighbour():
                self._need(thing.dev)
                _store(self._neighbours, (thing.dev, thing.address), thing, over=over)
            case Fdb():
                self._need(thing.dev)
                _store(self._fdb, (thing.dev, thing.mac), thing, over=over)
            case Rule():
                _store(self._rules, (thing.family, thing.priority, thing.source), thing, over=False)
            case Qdisc(bucket=bucket):
                self._need(thing.dev)
                shown = replace(thing, bucket=replace(bucket, burst=0)) if bucket is not None else thing
                _store(self._qdiscs, (thing.dev, thing.parent), shown, over=over)
            case Filter():
                self._add_filter(thing, over=over)
            case Redirect():
                self._need(thing.to)
                self._need_clsact(thing.dev)
                _store(self._redirects, (thing.dev, thing.priority), thing, over=over)

    def _delete(self, thing: Thing) -> None:
        match thing:
            case Link():
                self._delete_link(thing)
            case Address():
                self._need(thing.dev)
                if self._addresses.pop((thing.dev, thing.address), None) is None:
                    raise _Refused(errno.EADDRNOTAVAIL)
                self._routes.pop((MAIN_TABLE, str(ip_interface(thing.address).network), 0), None)
            case Route():
                self._delete_route(thing)
            case Neighbour():
                _drop(self._neighbours, (thing.dev, thing.address))
            case Fdb():
                _drop(self._fdb, (thing.dev, thing.mac))
            case Rule():
                _drop(self._rules, (thing.family, thing.priority, thing.source))
            case Qdisc():
                self._need(thing.dev)
                _drop(self._qdiscs, (thing.dev, thing.parent), errno.EINVAL)
                if thing.kind == "clsact":
                    self._forget_filters(thing.dev)
            case Filter():
                self._need(thing.dev)
                _drop(self._filters, (thing.dev, thing.direction, thing.priority, thing.handle))
            case Redirect():
                self._need(thing.dev)
                _drop(self._redirects, (thing.dev, thing.priority))

    def _add_link(self, link: Link) -> None:
        if self.link(link.name) is not None:
            raise _Refused(errno.EEXIST)
        if link.master:
            self._need(link.master)
        peer = link.detail.peer if isinstance(link.detail, Veth) else None
        if peer is not None:
            there = self if peer.ns is None else self._namespaces[peer.ns]
            if there.link(peer.name) is not None:
                raise _Refused(errno.EEXIST)
            there.enter(Link(peer.name, Veth(), mtu=peer.mtu, mac=peer.mac))
            there.peers[peer.name] = (self, link.name)
            self.peers[link.name] = (there, peer.name)
        self.enter(replace(link, detail=Veth() if isinstance(link.detail, Veth) else link.detail))

    def enter(self, link: Link) -> None:
        """A link arrives, made here or moved in from another namespace."""
        index, self._next_index = self._next_index, self._next_index + 1
        mac = link.mac or f"02:00:00:00:00:{index % 256:02x}"
        self._links[link.name] = replace(link, index=index, mac=mac, mtu=link.mtu or 1500)

    def _delete_link(self, link: Link) -> None:
        names = [
            each.name
            for each in self._links.values()
            if each.name == link.name or (not link.name and each.index == link.index)
        ]
        if not names:
            raise _Refused(errno.ENODEV, f"there is no link {link.name}" if link.name else "")
        self.drop_link(names[0])

    def drop_link(self, name: str) -> None:
        """A link goes, and a veth's other end with it."""
        if name == "lo":
            raise _Refused(errno.EOPNOTSUPP)
        del self._links[name]
        self._forget(name, addresses=True)
        for port in [link for link in self._links.values() if link.master == name]:
            self._links[port.name] = replace(port, master="")
        if (peer := self.peers.pop(name, None)) is not None:
            there, other = peer
            there.peers.pop(other, None)
            if there.link(other) is not None:
                there.drop_link(other)

    def _forget(self, name: str, *, addresses: bool) -> None:
        """What the kernel drops with a link that goes down or away."""
        self._routes = {key: route for key, route in self._routes.items() if not _uses(route, name)}
        self._neighbours = {key: entry for key, entry in self._neighbours.items() if key[0] != name}
        if addresses:
            self._qdiscs = {key: entry for key, entry in self._qdiscs.items() if entry.dev != name}
            self._forget_filters(name)
            self._fdb = {key: entry for key, entry in self._fdb.items() if key[0] != name}
        for address in [a for a in self._addresses.values() if a.dev == name and (addresses or ":" in a.address)]:
            del self._addresses[name, address.address]

    def _set(self, change: SetLink) -> None:
        link = self._need(change.name)
        if change.mtu is not None and change.mtu < MIN_MTU:
            raise _Refused(errno.EINVAL, "mtu less than device minimum")
        if change.master and not isinstance(self._need(change.master).detail, Bridge):
            raise _Refused(errno.EOPNOTSUPP)
        if change.up is False and link.up:
            self._forget(link.name, addresses=False)
        names = ("up", "mtu", "mac", "master", "group", "alias", "hairpin")
        said = {name: value for name in names if (value := getattr(change, name)) is not None}
        if change.altname is not None:
            said["altnames"] = tuple(sorted((*link.altnames, change.altname)))
        self._links[link.name] = link = replace(link, **said)
        if change.up:
            for address in [a for a in self._addresses.values() if a.dev == link.name]:
                self._connect(address)
        if change.rename or change.ns is not None:
            self._move(link, change)

    def _move(self, link: Link, change: SetLink) -> None:
        there = self if change.ns is None else self._namespaces[change.ns]
        name = change.rename or link.name
        if there.link(name) is not None:
            raise _Refused(errno.EEXIST)
        if change.ns is not None:
            self._forget(link.name, addresses=True)
            link = replace(link, up=False, master="")
        del self._links[link.name]
        there.enter(replace(link, name=name))
        if (peer := self.peers.pop(link.name, None)) is not None:
            there.peers[name] = peer
            peer[0].peers[peer[1]] = (there, name)

    def _add_address(self, address: Address, *, over: bool) -> None:
        self._need(address.dev)
        _store(self._addresses, (address.dev, address.address), address, over=over)
        self._connect(address)

    def _connect(self, address: Address) -> None:
        """The route to an address's own subnet, which the kernel makes while the link is up."""
        interface = ip_interface(address.address)
        whole = interface.network.prefixlen == interface.max_prefixlen
        if address.noprefixroute or whole or not self._links[address.dev].up:
            return
        source = "" if interface.version == 6 else str(interface.ip)
        metric = 256 if interface.version == 6 else 0
        route = Route(str(interface.network), dev=address.dev, proto=PROTO_KERNEL, source=source, metric=metric)
        self._routes.setdefault(route.key, route)

    def _add_route(self, route: Route, *, over: bool) -> None:
        if route.via and not route.dev:
            route = replace(route, dev=self._toward(route.via))
        for dev in {route.dev, *(hop.dev for hop in route.hops)} - {""}:
            if not self._need(dev).up:
                raise _Refused(errno.ENETDOWN)
        beside = self._beside(route.dev, route.via)
        if route.via and not route.onlink and not beside and self._toward(route.via) != route.dev:
            raise _Refused(errno.ENETUNREACH, "Nexthop has invalid gateway")
        if ":" in route.destination and not route.dev and not route.hops:
            route = replace(route, dev="lo")
        _store(self._routes, route.key, route, over=over)

    def _add_filter(self, entry: Filter, *, over: bool) -> None:
        self._need_clsact(entry.dev)
        shown = replace(entry, program=0, program_id=entry.program, tag="")
        _store(self._filters, (entry.dev, entry.direction, entry.priority, entry.handle), shown, over=over)

    def _need_clsact(self, dev: str) -> None:
        self._need(dev)
        if clsact(dev) not in self._qdiscs.values():
            raise _Refused(errno.EINVAL, "Parent Qdisc doesn't exists")

    def _forget_filters(self, dev: str) -> None:
        self._filters = {key: entry for key, entry in self._filters.items() if entry.dev != dev}
        self._redirects = {key: entry for key, entry in self._redirects.items() if entry.dev != dev}

    def _delete_route(self, route: Route) -> None:
        for key, found in sorted(self._routes.items(), key=lambda each: each[1].metric):
            same = key[:2] == route.key[:2] and route.metric in {0, found.metric} and route.proto in {0, found.proto}
            if same and route.via in {"", found.via} and route.dev in {"", found.dev}:
                del self._routes[key]
                return
        raise _Refused(errno.ESRCH)

    def _beside(self, dev: str, gateway: str) -> bool:
        """Whether a link has an address in a gateway's subnet; another link may have one, too."""
        subnets = [ip_interface(each.address).network for each in self._addresses.values() if each.dev == dev]
        return bool(gateway) and any(ip_address(gateway) in subnet for subnet in subnets)

    def _toward(self, gateway: str) -> str:
        """The link that a gateway is on."""
        wanted = ip_network(gateway)
        for route in self._routes.values():
            network = ip_network(route.destination)
            direct = not route.via and route.dev and network.prefixlen
            if direct and network.version == wanted.version and network.supernet_of(wanted):  # type: ignore[arg-type]
                return route.dev
        raise _Refused(errno.ENETUNREACH if wire.family_of(gateway) == 2 else errno.EHOSTUNREACH)

    def _need(self, name: str) -> Link:
        link = self.link(name)
        if link is None:
            raise _Refused(errno.ENODEV, f"there is no link {name}")
        return link


class _Refused(Exception):  # noqa: N818 - it says what happened
    def __init__(self, number: int, detail: str = "") -> None:
        self.number = number
        self.detail = detail
        super().__init__(number)


def _store(table: dict, key: tuple, thing: object, *, over: bool) -> None:  # type: ignore[type-arg]
    if key in table and not over:
        raise _Refused(errno.EEXIST)
    table[key] = thing


def _drop(table: dict, key: tuple, number: int = errno.ENOENT) -> None:  # type: ignore[type-arg]
    if table.pop(key, None) is None:
        raise _Refused(number)


def _uses(route: Route, name: str) -> bool:
    return route.dev == name or any(hop.dev == name for hop in route.hops)
