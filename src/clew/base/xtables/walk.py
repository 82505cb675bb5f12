"""A packet's way through chains: what a table makes of the first packet of a connection. Pure.

Where chance decides (`statistic`) every outcome is given. A condition or target that is not known here is an error, not
a guess: a simulation that passes over a word proves nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from types import MappingProxyType

import msgspec

from clew.base.value import Value
from clew.base.xtables.rules import Chains, Option, Parsed, parse

Entries = Mapping[str, frozenset[str]]  # ipset's name -> entries as `ipset list` prints them


class Flight(Value):
    """The packet as it is now."""

    source: str
    destination: str
    protocol: str  # tcp, udp, sctp
    port: int
    mark: int = 0
    inside: str = ""  # the interface through which it came; "" where it began here or nobody says
    hits: tuple[tuple[str, str], ...] = ()  # lists of `recent` that it was put in or taken from, and how
    rules: tuple[str, ...] = ()  # "chain: rule" of each rule that it met


class Scene(Value):
    """What decides beside the rules."""

    local: frozenset[str]  # the node's own addresses
    sets: Entries = MappingProxyType({})
    recent: frozenset[str] = frozenset()  # lists of `recent` in which the client is


class Outcome(Value):
    """`verdict`: ACCEPT, DROP, REJECT, DNAT, REDIRECT, MASQUERADE, or "" where the chain came to its end."""

    verdict: str
    flight: Flight
    argument: str = ""  # of the target: "10.244.1.10:8080", "tcp-reset"


def walk(chains: Chains, chain: str, flight: Flight, scene: Scene) -> Iterator[Outcome]:
    """Everything that can become of the packet in this chain. A chain that is not there is an empty one."""
    yield from _from(chains, chains.get(chain, ()), chain, 0, flight, scene)


def _from(
    chains: Chains, rules: tuple[str, ...], chain: str, start: int, flight: Flight, scene: Scene
) -> Iterator[Outcome]:
    for at in range(start, len(rules)):
        rule = parse(rules[at])
        matching, other = _matching(rule, flight, scene)
        if other is not None:
            if matching is None:
                flight = other
                continue
            yield from _from(chains, rules, chain, at + 1, other, scene)
        if matching is None:
            return
        flight = msgspec.structs.replace(matching, rules=(*matching.rules, f"{chain}: {rules[at]}"))
        if rule.target in {"", "MARK", "CONNMARK", "LOG"}:
            flight = _marked(rule, flight) if rule.target == "MARK" else flight
        elif rule.target == "RETURN":
            break
        elif rule.target in chains:
            for outcome in walk(chains, rule.target, flight, scene):
                if outcome.verdict:
                    yield outcome
                else:
                    yield from _from(chains, rules, chain, at + 1, outcome.flight, scene)
            return
        else:
            yield _ended(rule, flight)
            return
    yield Outcome("", flight)


def _ended(rule: Parsed, flight: Flight) -> Outcome:
    argument = {
        "ACCEPT": "",
        "DROP": "",
        "MASQUERADE": "",
        "REJECT": rule.argument("--reject-with") or "icmp-port-unreachable",
        "DNAT": rule.argument("--to-destination") or "",
        "REDIRECT": rule.argument("--to-ports") or "",
    }
    if rule.target not in argument:
        raise ValueError(f"target {rule.target} is neither a chain nor a target known to the simulation")
    return Outcome(rule.target, flight, argument[rule.target])


def _marked(rule: Parsed, flight: Flight) -> Flight:
    value, _, mask = (rule.argument("--set-xmark") or "").partition("/")
    cleared = flight.mark & ~(int(mask, 16) if mask else 0xFFFFFFFF)
    return msgspec.structs.replace(flight, mark=cleared ^ int(value, 16))


def _matching(rule: Parsed, flight: Flight, scene: Scene) -> tuple[Flight | None, Flight | None]:
    """The packet where the rule takes it, and where it does not; both where chance decides."""
    chance = False
    for option in rule.conditions:
        if option.module == "statistic":
            chance = chance or option.name == "--probability"
            continue
        if option.module == "recent":
            continue
        condition = CONDITIONS.get((option.module, option.name))
        if condition is None:
            raise ValueError(f"condition {option.module} {option.name} is not known to the simulation")
        if condition(option, flight, scene) == option.negated:
            return None, flight
    listed = {option.name: option.value for option in rule.conditions if option.module == "recent"}
    if listed:
        taken = _recent(listed, flight, scene)
        return (None, flight) if taken is None else (taken, None)
    certain = any(each.name == "--probability" and float(each.value) >= 1 for each in rule.conditions)
    return flight, flight if chance and not certain else None


def _recent(options: Mapping[str, str], flight: Flight, scene: Scene) -> Flight | None:
    name = options.get("--name", "DEFAULT")
    if "--rcheck" in options or "--update" in options:
        return flight if name in scene.recent else None
    doing = "remove" if "--remove" in options else "set"
    return msgspec.structs.replace(flight, hits=(*flight.hits, (name, doing)))


Condition = Callable[[Option, Flight, Scene], bool]


def _within(address: str, prefix: str) -> bool:
    network = ip_network(prefix, strict=False)
    return ip_address(address) in network


def _marks(option: Option, flight: Flight, _scene: Scene) -> bool:
    value, _, mask = option.value.partition("/")
    return flight.mark & (int(mask, 16) if mask else 0xFFFFFFFF) == int(value, 16)


def _interface(option: Option, flight: Flight, _scene: Scene) -> bool:
    if option.value.endswith("+"):
        return flight.inside.startswith(option.value[:-1]) and flight.inside != ""
    return flight.inside == option.value


def _place(option: Option, flight: Flight, scene: Scene) -> bool:
    address = flight.source if option.name == "--src-type" else flight.destination
    loopback = ip_address(address).is_loopback
    return "LOCAL" in option.value.split(",") and (address in scene.local or loopback)


def _in_set(option: Option, flight: Flight, scene: Scene) -> bool:
    name, directions = option.value.split()
    entries = scene.sets.get(name, frozenset())
    first, *rest = directions.split(",")
    if not rest and any(entry.isdigit() for entry in entries):  # a bitmap of ports
        return str(flight.port) in entries
    address = flight.source if first == "src" else flight.destination
    words = [address]
    if rest:
        words.append(f"{flight.protocol}:{flight.port}")
    if len(rest) < 2:
        return ",".join(words) in entries or (
            not rest and any("/" in each and _within(address, each) for each in entries)
        )
    third = flight.source if rest[1] == "src" else flight.destination
    start = ",".join(words) + ","
    candidates = (entry[len(start) :] for entry in entries if entry.startswith(start))
    return any(_within(third, candidate) for candidate in candidates)


def _ports(option: Option, flight: Flight, _scene: Scene) -> bool:
    first, _, last = option.value.partition(":")
    return int(first) <= flight.port <= int(last or first)


def _always(_option: Option, _flight: Flight, _scene: Scene) -> bool:
    return True


CONDITIONS: Mapping[tuple[str, str], Condition] = {
    ("", "-s"): lambda option, flight, _: _within(flight.source, option.value),
    ("", "-d"): lambda option, flight, _: _within(flight.destination, option.value),
    ("", "-p"): lambda option, flight, _: option.value == flight.protocol,
    ("", "-i"): _interface,
    ("comment", "--comment"): _always,
    ("mark", "--mark"): _marks,
    ("addrtype", "--src-type"): _place,
    ("addrtype", "--dst-type"): _place,
    ("set", "--match-set"): _in_set,
    ("conntrack", "--ctstate"): lambda option, _flight, _scene: "NEW" in option.value.split(","),
    ("tcp", "--dport"): _ports,
    ("udp", "--dport"): _ports,
    ("sctp", "--dport"): _ports,
}
