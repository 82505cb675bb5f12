"""The program loaded, its maps filled, its filters at the links of pods. Blocking; called by node/dns_fast_path.

Maps and program belong to one zone: for another one all is made anew beside the old, filled, and put in its place. None
is pinned: what a restarted agent finds is filters that answer nothing any more, since nobody says that they may.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from clew.dataplane.dns_fast_path.objects import (
    DIRECTION,
    FIRST,
    IMAGE,
    KEY,
    PRIORITY,
    PROGRAM,
    NameEntry,
    Outcome,
    ServerEntry,
    ZoneEntry,
    live,
)
from clew.kernel import bpf
from clew.kernel.errors import KernelError
from clew.kernel.netlink import RtNetlink
from clew.reconcile import DeltaMap

HOOKS = frozenset({"clsact", "ingress"})  # disciplines that have filters for what comes in
NAMES, SERVERS, ZONE, LIVE, COUNTS = "dns_names", "dns_servers", "dns_zone", "dns_live", "dns_counts"


class LoadedProgram(Protocol):
    """What this needs of kernel/bpf's `Loaded`."""

    @property
    def maps(self) -> Mapping[str, bpf.Map]: ...

    @property
    def programs(self) -> Mapping[str, bpf.Program]: ...

    def close(self) -> None: ...


def load() -> LoadedProgram:
    return bpf.load(bpf.image(IMAGE))


class FastPathPlane:
    """Wants are taken at any time; `sync` makes them so."""

    def __init__(self, kernel: RtNetlink, loader: Callable[[], LoadedProgram] = load) -> None:
        self._kernel = kernel
        self._loader = loader
        self._loaded: LoadedProgram | None = None
        self._zone: ZoneEntry | None = None
        self._made_for: ZoneEntry | None = None
        self._wanted: frozenset[str] = frozenset()
        self._names: DeltaMap[bytes, bytes] = DeltaMap()
        self._servers: DeltaMap[bytes, bytes] = DeltaMap()
        self._links: DeltaMap[str, int] = DeltaMap()  # the number of the program at each
        self._counted = dict.fromkeys(Outcome, 0)  # by programs that are gone

    def want_zone(self, zone: ZoneEntry | None, names: Iterable[NameEntry] = ()) -> None:
        """Another zone with all its names; None: no program at all."""
        self._zone = zone
        self._names.want_whole(dict(each.packed() for each in names))

    def want_name(self, key: bytes, entry: NameEntry | None) -> None:
        self._names.want(key.ljust(KEY, b"\0"), entry.packed()[1] if entry else None)

    def want_servers(self, servers: Iterable[ServerEntry]) -> None:
        self._servers.want_whole(dict(each.packed() for each in servers))

    def want_links(self, links: Iterable[str]) -> None:
        """The links of pods; those that are not there yet are taken when they are."""
        self._wanted = frozenset(links)

    def link_changed(self, link: str) -> None:
        """It came, or went: whatever was at it is gone."""
        self._links.found(link, None)

    def read(self) -> None:
        """What of ours is in the kernel, also of an agent that is gone. KernelError where it cannot be told."""
        found = {}
        for link in {each.dev for each in self._kernel.qdiscs() if each.kind in HOOKS}:
            for each in self._kernel.filters(link):
                if (each.priority, each.direction, each.name) == (PRIORITY, DIRECTION, PROGRAM):
                    found[link] = each.program_id
        self._links.found_whole(found)
        if self._loaded is not None:
            self._names.found_whole(dict(self._loaded.maps[NAMES].items()))
            self._servers.found_whole(dict(self._loaded.maps[SERVERS].items()))

    def sync(self, until: int, serial: int) -> list[KernelError]:
        """The kernel as wanted; questions are answered until then (nanoseconds of CLOCK_MONOTONIC, 0: none are).

        Returns the refusals of single links. KernelError: nothing is answered until the next sync is well.
        """
        try:
            self._make()
            self._fill()
            self._say(until, serial)
        except KernelError:
            with contextlib.suppress(KernelError):
                self._say(0, serial)
            raise
        return self._attach()

    def _make(self) -> None:
        """Another program for another zone; the old one answers nothing while it still stands at links."""
        if self._zone == self._made_for:
            return
        if self._loaded is not None:
            self._counted = self._totals()
            self._say(0, 0)
            self._loaded.close()
        self._loaded = self._made_for = None
        self._names.found_whole({})
        self._servers.found_whole({})
        if self._zone is not None:
            self._loaded = self._loader()
            self._loaded.maps[ZONE].update(FIRST, self._zone.packed())
        self._made_for = self._zone

    def _fill(self) -> None:
        """What is to go goes last: a full map is no reason to answer wrongly."""
        if self._loaded is None:
            return
        for name, delta in ((NAMES, self._names), (SERVERS, self._servers)):
            held = self._loaded.maps[name]
            if delta:
                held.update_all(list(delta.updates.items()))
                held.delete_all(list(delta.deletions))
                delta.done_whole()

    def _say(self, until: int, serial: int) -> None:
        if self._loaded is not None:
            self._loaded.maps[LIVE].update(FIRST, live(until, serial))

    def _attach(self) -> list[KernelError]:
        """Every link by itself."""
        program = self.program
        self._links.want_whole(dict.fromkeys(self._wanted, program.id) if program is not None else {})
        refusals = []
        for link in [*self._links.updates, *self._links.deletions]:
            try:
                if program is not None and link in self._links.updates:
                    bpf.attach_tc(program, self._kernel, link, DIRECTION, priority=PRIORITY)
                else:
                    bpf.detach_tc(self._kernel, link, DIRECTION, priority=PRIORITY)
            except KernelError as refusal:
                if not refusal.absent:  # a link that is not there yet, or no more
                    refusals.append(refusal)
            else:
                self._links.done(link)
        return refusals

    def _totals(self) -> dict[Outcome, int]:
        if self._loaded is None:
            return dict(self._counted)
        counts = self._loaded.maps[COUNTS]
        now = {
            each: int.from_bytes(counts.lookup(int(each).to_bytes(4, "little")) or b"", "little") for each in Outcome
        }
        return {each: self._counted[each] + now[each] for each in Outcome}

    def counts(self) -> dict[Outcome, int]:
        """Questions to the servers so far, by what became of them."""
        return self._totals()

    @property
    def program(self) -> bpf.Program | None:
        """What is at work; None without a zone."""
        return self._loaded.programs[PROGRAM] if self._loaded is not None else None

    def links(self) -> Collection[str]:
        """Where the program is at work."""
        return self._links.actual.keys()

    def remove(self) -> None:
        """Everything out of the kernel, whoever put it there. KernelError where it refuses."""
        self.want_zone(None)
        self.want_links(())
        self.read()
        for refusal in self.sync(0, 0):
            raise refusal
