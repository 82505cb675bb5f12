"""What one family's maps should hold, kept service by service beside what they do hold. Pure.

Load balancing comes in per service, a difference comes out per map; dataplane/ebpf/apply carries it out.
"""

from collections.abc import Iterable, Mapping

from clew.dataplane.ebpf import layout, rules
from clew.dataplane.ebpf.layout import CLUSTER_IPS, IPV6_SETS, NAMES, WRITTEN, Maps
from clew.dataplane.ebpf.objects import State, Surface
from clew.dataplane.ebpf.render import Contribution, Entries, contribution, surroundings
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.reconcile import Claims, DeltaMap
from clew.reconcile.numbers import Numbers

Owner = tuple[str, str]
NOTHING = Contribution({}, ())


class Programme:
    def __init__(self, settings: Settings, surface: Surface | None = None) -> None:
        self.settings = settings
        self.surface = surface or Surface()
        self.deltas: dict[str, DeltaMap[bytes, bytes]] = {name: DeltaMap() for name in WRITTEN}
        self._numbers = Numbers(1, IPV6_SETS)
        self._parts: dict[Owner, Contribution] = {}
        self._cluster_ips: Claims[Owner, bytes, bytes] = Claims()
        self._left: list[str] = []  # names of sets that go with the next write, and free their numbers then
        self._around: Entries = {}
        self._surround()

    def want(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """These services are to be so from now on (no balancers: not at all)."""
        parts = {owner: self._render(balancers) for owner, balancers in changes.items()}
        for owner, part in parts.items():  # first everybody lets go, since keys may move from one service to another
            self._let_go(self._parts.get(owner, NOTHING), part)
        for owner, part in parts.items():
            before = self._parts.get(owner, NOTHING)
            self._take(owner, before, part)
            self._left += set(before.sets).difference(part.sets)
            if part.entries:
                self._parts[owner] = part
            else:
                self._parts.pop(owner, None)

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family: entries of services stay as they are."""
        self.settings = settings
        self._surround()

    def look(self, surface: Surface) -> None:
        """The node looks so now."""
        if surface != self.surface:
            self.surface = surface
            self._surround()

    def adopt(self, found: Maps) -> None:
        """Take over the numbers that sets in the kernel have; before anything is wanted."""
        for key, value in found.get(NAMES, {}).items():
            self._numbers.adopt(layout.unpack_name(value), layout.unpack_number(key) & ~IPV6_SETS)

    def found(self, found: Maps) -> None:
        """Every map as it was read back."""
        for name, delta in self.deltas.items():
            delta.found_whole(found.get(name, {}))

    def written(self) -> None:
        """The kernel has taken everything."""
        for name in self._left:
            if name not in self._wanted_sets(name):
                self._numbers.release(name)
        self._left.clear()

    def wanted(self) -> State:
        """All that should be in the kernel."""
        maps = {name: dict(delta.desired) for name, delta in self.deltas.items()}
        devices = {device.index: device.shown for device in self.surface.devices}
        return State(self.settings.family, maps, rules.chains(), devices)

    def _wanted_sets(self, name: str) -> tuple[str, ...]:
        """The name again, where its set was wanted once more since it went."""
        number = self._numbers.get(name)
        if number is None:
            return ()
        key = layout.pack_number(number | (IPV6_SETS if self.settings.family == 6 else 0))
        return (name,) if key in self.deltas[NAMES].desired else ()

    def _surround(self) -> None:
        around = surroundings(self.settings, self.surface)
        for name, entries in around.items():
            if entries != self._around.get(name):
                self.deltas[name].want_whole(entries)
        self._around = around

    def _render(self, balancers: Iterable[Balancer]) -> Contribution:
        family = self.settings.family
        parts = [contribution(each, self._numbers) for each in balancers if each.family == family]
        if len(parts) == 1:
            return parts[0]
        entries: Entries = {}
        for part in parts:
            for name, more in part.entries.items():
                entries.setdefault(name, {}).update(more)
        return Contribution(entries, tuple(name for part in parts for name in part.sets))

    def _let_go(self, before: Contribution, after: Contribution) -> None:
        for name, entries in before.entries.items():
            if name != CLUSTER_IPS:
                delta, kept = self.deltas[name], after.entries.get(name, {})
                for key in entries:
                    if key not in kept:
                        delta.want(key, None)

    def _take(self, owner: Owner, before: Contribution, after: Contribution) -> None:
        for name, entries in after.entries.items():
            if name != CLUSTER_IPS:
                known = before.entries.get(name)
                new = {key: value for key, value in entries.items() if known.get(key) != value} if known else entries
                self.deltas[name].want_each(new)
        wanted = after.entries.get(CLUSTER_IPS, {})
        if wanted or CLUSTER_IPS in before.entries:
            for key in self._cluster_ips.claim(owner, wanted):
                held = self._cluster_ips.get(key)
                self.deltas[CLUSTER_IPS].want(key, None if held is None else held[1])
