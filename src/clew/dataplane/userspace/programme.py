"""What one family's services need of the proxy and of the kernel's rules, kept service by service. Pure."""

from collections.abc import Iterable, Mapping

from clew.base.xtables import Ruleset, Wanted, with_jumps
from clew.dataplane.userspace.objects import Line, Part, State, Way, WayKey
from clew.dataplane.userspace.render import render
from clew.dataplane.userspace.rules import rules
from clew.ir.balancing import Balancer, Protocol
from clew.ir.proxying import Settings

Owner = tuple[str, str]
NOTHING = Part({}, (), frozenset())
FIRST_PORT = 40000  # of a rendering without sockets
DIGITS = "0123456789"


class Programme:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._balancers: dict[Owner, tuple[Balancer, ...]] = {}
        self._parts: dict[Owner, Part] = {}

    def want(self, changes: Mapping[Owner, Iterable[Balancer]]) -> bool:
        """These services are to be so from now on (no balancers: not at all). Whether anything became different."""
        different = False
        for owner, balancers in changes.items():
            kept = tuple(each for each in balancers if each.family == self.settings.family)
            part = render(kept, self.settings)
            different = different or part != self._parts.get(owner, NOTHING)
            if kept:
                self._balancers[owner], self._parts[owner] = kept, part
            else:
                self._balancers.pop(owner, None)
                self._parts.pop(owner, None)
        return different

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family."""
        renew, self.settings = settings.of_services != self.settings.of_services, settings
        if renew:
            self.want(dict(self._balancers))

    def ways(self) -> dict[WayKey, Way]:
        """Every way that has somebody to dial."""
        return {key: way for part in self._parts.values() for key, way in part.ways.items()}

    def claims(self) -> set[tuple[Protocol, int]]:
        """Node ports to hold."""
        return {claim for part in self._parts.values() for claim in part.claims}

    def lines(self) -> Iterable[Line]:
        return (line for part in self._parts.values() for line in part.lines)

    def rules(self, ports: Mapping[WayKey, int]) -> Wanted:
        return rules(self.lines(), ports, self.settings)

    def wanted(self) -> State:
        """As if every way had its port, in order of their names."""
        ways = self.ways()
        ports = {key: FIRST_PORT + number for number, key in enumerate(sorted(ways, key=str))}
        return state(with_jumps(self.rules(ports)), ways, ports)


def state(ruleset: Ruleset, ways: Mapping[WayKey, Way], ports: Mapping[WayKey, int]) -> State:
    return State(ruleset, {(key.protocol, port): (key, ways[key]) for key, port in ports.items() if key in ways})


def adopted(ruleset: Ruleset, wanted: Iterable[Line]) -> Mapping[WayKey, int]:
    """The ports that rules of an earlier agent lead to, so that its successor can listen there again."""
    there = {
        rule.rstrip(DIGITS): int(rule[len(rule.rstrip(DIGITS)) :])
        for chains in ruleset.values()
        for listed in chains.values()
        for rule in listed
        if rule[-1:].isdigit()
    }
    return {line.to: there[line.text] for line in wanted if line.to is not None and line.text in there}
