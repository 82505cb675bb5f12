"""From a rule, a port of the proxy or a packet back to the Service it is there for, and one sentence on it. Pure."""

from collections.abc import Iterator

from clew.base.addresses import with_port
from clew.base.value import Value
from clew.base.xtables import parse
from clew.dataplane.userspace.objects import HUBS, State, Way, WayKey
from clew.dataplane.userspace.simulate import Followed


class Row(Value):
    """One way or rule in words, as tables of scenarios and `clew trace` show it."""

    kind: str
    key: str
    value: str


def rows(state: State) -> Iterator[Row]:
    """The ways with whom they dial, then the rules of services; ports of the proxy stand as the name of their way."""
    names = {str(port): f"port of {key}" for (_, port), (key, _) in state.ways.items()}
    for key, way in sorted(state.ways.values(), key=str):
        yield Row("way", f"{key}/{key.protocol}", _backends(way))
    for hub, table in HUBS.items():
        for rule in state.rules.get(table, {}).get(hub, ()):
            start = rule.rstrip("0123456789")
            led = parse(rule).target in {"REDIRECT", "DNAT"}
            yield Row(hub, f"{start} {names.get(rule[len(start) :], '')}" if led else rule, "")


def way(key: WayKey, kept: Way) -> tuple[str, str]:
    """The Service and one sentence."""
    return f"Service {key.origin}", f"the proxy of {key}/{key.protocol} dials in turn {_backends(kept)}"


def packet(outcome: Followed, state: State) -> tuple[str, list[str]]:
    """The Service that a packet's fate is owed to, and what decided, in order."""
    lines = list(outcome.rules)
    for key, kept in state.ways.values():
        if key == outcome.way:
            service, sentence = way(key, kept)
            return service, [*lines, sentence]
    said = [
        option.value
        for rule in lines
        for option in parse(rule.partition(": ")[2]).conditions
        if option.module == "comment"
    ]
    return (f"Service {said[-1]}" if said and "/" in said[-1] else ""), lines


def _backends(kept: Way) -> str:
    listed = ", ".join(with_port(*at) for at in kept.backends)
    return f"{listed}; a client keeps its own for {kept.affinity} s" if kept.affinity else listed
