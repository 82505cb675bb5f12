"""What one family should have in IPVS, kept service by service beside what it has. Pure.

Load balancing comes in per service, differences come out per kind of object; dataplane/ipvs/apply carries them out.
"""

from collections.abc import Collection, Iterable, Mapping

from clew.base.xtables import Ruleset, Wanted, change, with_jumps
from clew.dataplane.ipvs.objects import (
    KINDS,
    Answering,
    At,
    Entry,
    Part,
    State,
    VirtualKey,
    VirtualServer,
    set_name,
)
from clew.dataplane.ipvs.render import render
from clew.dataplane.ipvs.rules import rules
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.reconcile import Claims, DeltaMap

Owner = tuple[str, str]
RealKey = tuple[VirtualKey, At]
NOTHING = Part({}, frozenset(), frozenset())
WEIGHT = 1
RANGES: Owner = ("", "ServiceCIDRs")  # owns what no service does


class Programme:
    """`busy`: real servers that nobody wants and that still have connections; they stay, and get no new ones."""

    def __init__(self, settings: Settings, node_addresses: Collection[str] = ()) -> None:
        self.settings = settings
        self.node_addresses = frozenset(node_addresses)
        self.busy: set[RealKey] = set()
        self.servers: DeltaMap[VirtualKey, VirtualServer] = DeltaMap(lambda key, _server: self._drains(key))
        self.reals: DeltaMap[RealKey, int] = DeltaMap(lambda key, _weight: key in self.busy)
        self.addresses: DeltaMap[str, str] = DeltaMap()
        self.entries: DeltaMap[Entry, str] = DeltaMap()
        self._balancers: dict[Owner, tuple[Balancer, ...]] = {}
        self._virtual: Claims[Owner, VirtualKey, Answering] = Claims()
        self._behind: dict[VirtualKey, tuple[At, ...]] = {}  # wanted real servers
        self._carried: Claims[Owner, str, str] = Claims()
        self._listed: Claims[Owner, Entry, str] = Claims()
        self._wanted: Wanted | None = None
        self._range()

    def want(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """These services are to be so from now on (no balancers: not at all)."""
        for owner, balancers in changes.items():
            kept = tuple(each for each in balancers if each.family == self.settings.family)
            if kept:
                self._balancers[owner] = kept
            else:
                self._balancers.pop(owner, None)
            self._take(owner, render(kept, self.settings, self.node_addresses) if kept else NOTHING)

    def settle(self, settings: Settings, node_addresses: Collection[str]) -> None:
        """Other settings of the same family, or other addresses of the node: everything is rendered anew if so.

        But for the ranges, which are entries of one set.
        """
        addresses = frozenset(node_addresses)
        before = self.settings.of_services, self.node_addresses
        self.settings, self.node_addresses = settings, addresses
        self._range()
        if before != (settings.of_services, addresses):
            self._wanted = None
            self.want(dict(self._balancers))

    def _range(self) -> None:
        for entry in self._listed.claim(RANGES, dict.fromkeys(map(_in_ranges, self.settings.service_cidrs), "")):
            self.entries.want(entry, "" if self._listed.get(entry) else None)

    def rules(self) -> Wanted:
        if self._wanted is None:
            self._wanted = rules(self.settings)
        return self._wanted

    def origin(self, key: VirtualKey) -> str:
        """The service port that a virtual server is there for; "" where it is none of ours."""
        held = self._virtual.get(key)
        return held[1].origin if held else ""

    def found(self, state: State) -> None:
        """Everything of ours as it was read back."""
        names = {set_name(name, self.settings.family): name for name in KINDS}
        self.servers.found_whole(state.servers)
        self.reals.found_whole(
            {(key, at): weight for key, reals in state.reals.items() for at, weight in reals.items()}
        )
        self.addresses.found_whole(dict.fromkeys(state.addresses, ""))
        self.entries.found_whole(
            {(names[name], entry): "" for name, entries in state.sets.items() if name in names for entry in entries}
        )

    def __bool__(self) -> bool:
        """Whether anything differs but the rules."""
        return any(map(bool, (self.servers, self.reals, self.addresses, self.entries)))

    def wanted(self) -> State:
        """All that should be in the kernel, rules and the jumps to them included."""
        reals: dict[VirtualKey, dict[At, int]] = {key: {} for key in self.servers.desired}
        for (key, at), weight in self.reals.desired.items():
            reals[key][at] = weight
        sets: dict[str, set[str]] = {name: set() for name in KINDS}
        for name, entry in self.entries.desired:
            sets[name].add(entry)
        return State(
            with_jumps(self.rules()),
            {set_name(name, self.settings.family): frozenset(entries) for name, entries in sets.items()},
            frozenset(self.addresses.desired),
            dict(self.servers.desired),
            reals,
        )

    def drain(self, key: RealKey) -> None:
        """Of a real server that is unwanted and still has connections: it gets no new ones any more."""
        self.busy.add(key)
        self.reals.found(key, 0)
        self.servers.found(key[0], self.servers.actual.get(key[0]))

    def let_go(self, key: RealKey) -> None:
        """It has none left."""
        self.busy.discard(key)
        self.reals.found(key, self.reals.actual.get(key))
        self.servers.found(key[0], self.servers.actual.get(key[0]))

    def ends(self, key: VirtualKey) -> bool:
        """Whether a virtual server is to go for good: no service has it any more, with backends or without."""
        return key not in self._behind

    def _drains(self, key: VirtualKey) -> bool:
        return not self.ends(key) and any(real[0] == key for real in self.busy)

    def script(self, found: Ruleset) -> str:
        """What to restore so that the rules are right."""
        return change(self.rules(), found)

    def _take(self, owner: Owner, part: Part) -> None:
        for key in self._virtual.claim(owner, part.servers):
            self._answer(key)
        for address in self._carried.claim(owner, dict.fromkeys(part.addresses, "")):
            self.addresses.want(address, "" if self._carried.get(address) else None)
        for entry in self._listed.claim(owner, dict.fromkeys(part.entries, "")):
            self.entries.want(entry, "" if self._listed.get(entry) else None)

    def _answer(self, key: VirtualKey) -> None:
        """Take over who holds a virtual server now."""
        held = self._virtual.get(key)
        before = self._behind.get(key, ())
        after = held[1].reals if held else ()
        if held:
            self._behind[key] = after
        else:
            self._behind.pop(key, None)
        for at in before:
            if at not in after:
                self.reals.want((key, at), None)
        for at in after:
            self.busy.discard((key, at))
            self.reals.want((key, at), WEIGHT)
        if not held:
            self._forget(key)
        self.servers.want(key, held[1].server if held and after else None)

    def _forget(self, key: VirtualKey) -> None:
        """Nobody has this virtual server any more: what drained behind it goes with it."""
        for real in [real for real in self.busy if real[0] == key]:
            self.let_go(real)


def _in_ranges(prefix: str) -> Entry:
    return "KUBE-SERVICE-RANGE", prefix
