"""The table of host ports made as wanted. Blocking, well under a millisecond a pod; called by node/podnet.py's worker.

The table is there while some pod has a host port, and so is `route_localnet` on the bridge, which its guard needs.
"""

from collections.abc import Iterable

from clew.base.addresses import Family
from clew.dataplane.hostports import render
from clew.dataplane.hostports.objects import FAMILY, LOCALNET, OWN, SELF, TABLE, WHOLE, Entry, Place
from clew.ir.links import HostPort
from clew.kernel.conntrack import Conntrack
from clew.kernel.nft.port import ElementChange, ElementSet, Nft
from clew.kernel.sysctl import Settings
from clew.reconcile import DeltaMap

Key = tuple[str, bytes]

SETS = tuple(
    ElementSet(FAMILY, TABLE, each.name, each.key_length, each.data_length)
    for each in (*OWN.values(), *WHOLE.values(), *SELF.values())
)


class HostPortPlane:
    """One node's."""

    def __init__(self, nft: Nft, conntrack: Conntrack, settings: Settings, place: Place) -> None:
        self._nft = nft
        self._conntrack = conntrack
        self._settings = settings
        self._place = place
        self._links: dict[tuple[str, str], str] = {}
        self._wanted: dict[tuple[str, str], tuple[HostPort, ...]] = {}
        self._elements: DeltaMap[Key, Entry] = DeltaMap()
        self._listings = {render.listing(place)}  # how nft prints the table when it is as it should be
        self._there = True  # some table of our name, until a reading says that there is none
        self._table = False  # ours, and whole
        self._opened: set[str] = set()  # links whose route_localnet is set
        self._stale: set[HostPort] = set()  # whose UDP connections may lead where they should not any more

    def want(self, key: tuple[str, str], ports: tuple[HostPort, ...], link: str) -> None:
        """All host ports of one attachment, which is behind `link`; none where it is gone."""
        before = self._wanted.get(key, ())
        if ports == before:
            return
        self._stale |= {port for port in {*before} ^ {*ports} if port.protocol == "UDP"}
        if ports:
            self._wanted[key], self._links[key] = ports, link
            self._opened.discard(link)
        else:
            del self._wanted[key], self._links[key]
        self._elements.want_whole(render.every(port for found in self._wanted.values() for port in found))

    def keep_only(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget every attachment that is not among `keys`."""
        for gone in self._wanted.keys() - set(keys):
            self.want(gone, (), "")

    @property
    def pending(self) -> bool:
        if set(self._links.values()) - self._opened:
            return True
        return bool(self._elements or self._stale) or bool(self._wanted) != self._table

    def problem(self, key: tuple[str, str]) -> str:
        """What of an attachment's host ports is not in the kernel, as of the last reading; empty where all is."""
        for port in self._wanted.get(key, ()):
            missing = [entry for entry in render.entries(port) if (entry.name, entry.key) in self._elements.updates]
            if missing or not self._table:
                return f"the host port {port.host_port}/{port.protocol} is missing or was changed"
        return ""

    def read(self) -> None:
        """Read everything back; the next `sync` repairs what differs."""
        listing = self._nft.listing(FAMILY, TABLE)
        self._there, self._table = listing is not None, listing in self._listings
        if not self._table:  # it is made anew, elements and all
            self._elements.found_whole({})
            return
        self._elements.found_whole(
            {
                (target.name, key): Entry(target.name, key, value[: target.data_length])
                for target in SETS
                for key, value in self._nft.elements(target).items()
            }
        )

    def sync(self) -> None:
        """KernelError where it is refused; the difference stays for the next run."""
        if not self._wanted:
            self._remove()
        else:
            if not self._table:
                self._make()
            self._open()
            self._change()
        self._forget_connections()

    def _make(self) -> None:
        self._there = self._nft.listing(FAMILY, TABLE) is not None
        drop = render.removal() if self._there else ""
        self._nft.run(drop + render.script(self._place))
        self._listings.add(self._nft.listing(FAMILY, TABLE) or "")
        self._there = self._table = True
        self._elements.found_whole({})

    def _open(self) -> None:
        """The way of answers to 127.0.0.1, after the guard is there and before a port is."""
        closed = set(self._links.values()) - self._opened
        self._settings.write_known({LOCALNET.format(link=link): 1 for link in sorted(closed)})
        self._opened |= closed

    def _remove(self) -> None:
        if not self._there:
            return
        if self._nft.listing(FAMILY, TABLE) is not None:
            self._nft.run(render.removal())
            self._settings.write_known({LOCALNET.format(link=self._place.bridge): 0})
            self._opened.clear()
        self._there = self._table = False
        self._elements.found_whole({})

    def _change(self) -> None:
        """One transaction; a key whose value changes leaves and enters in it."""
        updates, deletions = dict(self._elements.updates), set(self._elements.deletions)
        changes = []
        for target in SETS:
            added = {key: entry.value for (name, key), entry in updates.items() if name == target.name}
            stays = {key for key in added if (target.name, key) in self._elements.actual}
            removed = {key for name, key in deletions if name == target.name} | stays
            if added or removed:
                changes.append(ElementChange(target, removed, added))
        if changes:
            self._nft.change(changes)
        for key in (*updates, *deletions):
            self._elements.done(key)

    def _forget_connections(self) -> None:
        """UDP knows no end: what was sent to the port before goes on where it went, until its entry goes."""
        for family in {port.family for port in self._stale}:
            self._forget(family, {port.host_port for port in self._stale if port.family == family})
        self._stale.clear()

    def _forget(self, family: Family, ports: set[int]) -> None:
        flows = self._conntrack.flows(family, "UDP")
        self._conntrack.delete(flow for flow in flows if flow.destination_port in ports)
