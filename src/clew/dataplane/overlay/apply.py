"""The node's tunnels made as wanted: devices, neighbours, forwarding entries, routes, rules. Blocking; decides nothing.

Works in two steps around the routes to pods: `make` before them, since a route needs its device, and `sweep` after
them, since what is taken away must not carry one any more. Ours by name (devices), by device (neighbours, forwarding
entries) and by proto (rules, routes of the table).
"""

from collections.abc import Iterable

from clew.dataplane.overlay import devices
from clew.dataplane.overlay.esp import EspEnds
from clew.dataplane.overlay.objects import (
    DEVICES,
    IPIP,
    PRIORITY,
    PROTO,
    SHUT_METRIC,
    SHUT_PROTO,
    TABLE,
    WIREGUARD,
    Overlay,
    TunnelLink,
)
from clew.dataplane.overlay.secure import SecureEnds
from clew.kernel.errors import KernelError
from clew.kernel.netlink import MAIN_TABLE, Add, Delete, Fdb, Neighbour, Route, RtNetlink, Rule
from clew.reconcile import DeltaMap

Entry = Neighbour | Fdb | Route | Rule
Key = tuple[int, str, str]  # its place in the order of making, its device, what identifies it there
Failures = dict[str, KernelError]


class OverlayPlane:
    """One node's tunnels."""

    def __init__(self, kernel: RtNetlink, secure: SecureEnds, esp: EspEnds) -> None:
        self._kernel = kernel
        self._secure = secure
        self._esp = esp
        self._links: DeltaMap[str, TunnelLink] = DeltaMap()
        self._entries: DeltaMap[Key, Entry] = DeltaMap()
        self._known = False

    def want(self, overlay: Overlay) -> None:
        """All of it: only when the list of nodes is complete. Until then nothing is touched."""
        self._known = True
        self._links.want_whole({link.name: link for link in overlay.links})
        self._entries.want_whole(_keyed(_entries(overlay)))
        self._secure.want(overlay.secure)
        self._esp.want(overlay.esp, wanted=any(link.kind == "ipsec" for link in overlay.links))

    @property
    def pending(self) -> bool:
        """Whether there is something to do."""
        return self._known and bool(self._links or self._entries or self._secure or self._esp)

    def read(self) -> None:
        """Read everything back; the next run repairs what differs."""
        links = [link for link in self._kernel.links() if link.name in DEVICES]
        addresses = self._kernel.addresses()
        wireguard = self._secure.wireguard
        ends = [end for link in links if (end := devices.found(link, addresses, wireguard)) is not None]
        self._secure.read(there=any(end.kind == "wireguard" for end in ends))
        self._esp.read()
        self._links.found_whole({end.name: end for end in ends})
        ours = {end.name for end in ends} - {IPIP}
        entries: list[Entry] = [
            Neighbour(each.address, each.dev, each.mac) for each in self._kernel.neighbours() if each.dev in ours
        ]
        entries += [Fdb(each.mac, each.dev, each.remote) for each in self._kernel.fdb() if each.dev in ours]
        entries += [
            _route(each.destination, each.dev, each.via, each.mtu)
            for each in self._kernel.routes(proto=PROTO, table=TABLE)
        ]
        entries += [_shut(each.destination) for each in self._kernel.routes(proto=SHUT_PROTO, table=MAIN_TABLE)]
        entries += [_rule(each.source) for each in self._kernel.rules() if (each.proto, each.table) == (PROTO, TABLE)]
        self._entries.found_whole(_keyed(entries))

    def make(self) -> Failures:
        """What is missing or differs, past refusals."""
        failures: Failures = {}
        if not self._known:
            return failures
        for name, link in list(self._links.updates.items()):
            try:
                devices.make(self._kernel, link, self._links.actual.get(name))
                if link.kind == "wireguard":
                    self._secure.set_up(link)
                devices.raise_up(self._kernel, link)
            except KernelError as refusal:
                failures[name] = refusal
            else:
                self._links.done(name)
                self._forget(name)
        if WIREGUARD not in failures:
            failures |= self._secure.make()
        failures |= self._esp.make()
        keys = [key for key in sorted(self._entries.updates) if key[1] not in failures]
        wanted = [self._entries.updates[key] for key in keys]
        asked = [Add(entry, replace=not isinstance(entry, Rule)) for entry in wanted]
        return failures | self._settle(keys, self._kernel.attempt(asked))

    def sweep(self) -> Failures:
        """What nobody wants any more."""
        if not self._known:
            return {}
        keys = sorted(self._entries.deletions, reverse=True)
        asked = [Delete(self._entries.actual[key]) for key in keys]
        failures = self._settle(keys, self._kernel.attempt(asked)) | self._esp.sweep()
        for name in sorted(self._links.deletions):
            try:
                devices.remove(self._kernel, self._links.actual[name])
            except KernelError as refusal:
                failures[name] = refusal
            else:
                self._links.done(name)
                self._forget(name)
        return failures

    def _settle(self, keys: list[Key], answers: list[KernelError | None]) -> Failures:
        failures = {}
        for key, refusal in zip(keys, answers, strict=True):
            as_wanted = refusal is None or (refusal.absent if key in self._entries.deletions else refusal.exists)
            if as_wanted:
                self._entries.done(key)
            elif refusal is not None:
                failures[f"{key[1]} {key[2]}"] = refusal
        return failures

    def _forget(self, dev: str) -> None:
        """A device that was made anew or taken away has taken what was on it with it."""
        for key in [key for key in self._entries.actual if key[1] == dev]:
            self._entries.found(key, None)
        if dev == WIREGUARD:
            self._secure.forget()


def _entries(overlay: Overlay) -> Iterable[Entry]:
    for peer in overlay.peers:
        yield Neighbour(peer.gateway, peer.dev, peer.mac)
        yield Fdb(peer.mac, peer.dev, peer.remote)
    for route in overlay.routes:
        yield _route(route.destination, route.dev, route.via, route.mtu)
    for rule in overlay.rules:
        yield _rule(rule.source)
    for shut in overlay.shut:
        yield _shut(shut.destination)


def _keyed(entries: Iterable[Entry]) -> dict[Key, Entry]:
    found: dict[Key, Entry] = {}
    for entry in entries:
        match entry:
            case Neighbour():
                found[0, entry.dev, entry.address] = entry
            case Fdb():
                found[1, entry.dev, entry.mac] = entry
            case Route():
                found[2, entry.dev, entry.destination] = entry
            case Rule():
                found[3, "", entry.source] = entry
    return found


def _route(destination: str, dev: str, via: str, mtu: int) -> Route:
    return Route(destination, via=via, dev=dev, table=TABLE, proto=PROTO, onlink=bool(via), mtu=mtu)


def _shut(destination: str) -> Route:
    return Route(destination, kind="unreachable", proto=SHUT_PROTO, metric=SHUT_METRIC)


def _rule(source: str) -> Rule:
    return Rule(PRIORITY, family=6 if ":" in source else 4, source=source, table=TABLE, proto=PROTO)
