"""A packet's way through a node in userspace mode: rules, and for what they redirect the proxy's choice. Pure.

Reads what is wanted or what is in force (`State`), never load balancing. What the proxy carries comes from the node.
"""

from collections.abc import Iterator, Mapping

from clew.base.xtables import Flight, Scene, walk
from clew.base.xtables import Outcome as Verdict
from clew.dataplane.userspace.objects import State, WayKey
from clew.ir.balancing import Protocol
from clew.ir.packets import End, Memory, Outcome, Packet, Surroundings

PROTOCOLS: Mapping[str, Protocol] = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}
ENDS: Mapping[str, End] = {"DROP": "dropped", "REJECT": "refused by icmp"}


class Followed(Outcome):
    """An outcome with the rules that the packet met and the way that took it, for explanations."""

    rules: tuple[str, ...] = ()
    way: WayKey | None = None


def simulate(
    state: State, packet: Packet, around: Surroundings, known: frozenset[Memory] = frozenset()
) -> frozenset[Followed]:
    """Every outcome that the first packet of a connection can have on this node."""
    flight = Flight(
        packet.source, packet.destination, packet.protocol.lower(), packet.port, packet.mark, packet.interface
    )
    scene = Scene(around.addresses)
    return frozenset(_outcomes(state, scene, flight, around, known))


def _outcomes(
    state: State, scene: Scene, flight: Flight, around: Surroundings, known: frozenset[Memory]
) -> Iterator[Followed]:
    first = "OUTPUT" if around.from_here else "PREROUTING"
    local = flight.destination in around.addresses
    then = ["OUTPUT"] if around.from_here else []
    then += ["INPUT"] if local else [] if around.from_here else ["FORWARD"]
    for guarded in walk(state.rules.get("mangle", {}), first, flight, scene):
        if guarded.verdict == "DROP":
            yield _ended(guarded)
            continue
        for led in walk(state.rules.get("nat", {}), first, guarded.flight, scene):
            if led.verdict in {"REDIRECT", "DNAT"}:
                yield from _proxied(state, led, known)
            else:
                yield _filtered(state, scene, led, then)


def _proxied(state: State, led: Verdict, known: frozenset[Memory]) -> Iterator[Followed]:
    flight = led.flight
    here = state.ways.get((PROTOCOLS[flight.protocol], int(led.argument.rpartition(":")[2])))
    if here is None:  # nobody listens there
        yield Followed("refused by reset", flight.destination, flight.port, mark=flight.mark, rules=flight.rules)
        return
    key, way = here
    client = (key.origin, flight.source)
    kept = [at for at in way.backends if (*client, *at) in known] if way.affinity else []
    for at in kept or way.backends:
        memory: tuple[Memory, ...] = ((*client, *at),) if way.affinity else ()
        yield Followed(
            "goes on", *at, masqueraded=True, mark=flight.mark, remembered=memory, rules=flight.rules, way=key
        )


def _filtered(state: State, scene: Scene, led: Verdict, chains: list[str]) -> Followed:
    for chain in chains:
        (met,) = walk(state.rules.get("filter", {}), chain, led.flight, scene)
        if met.verdict in ENDS:
            return _ended(met)
    return _ended(led)


def _ended(met: Verdict) -> Followed:
    end: End = ENDS.get(met.verdict, "goes on")
    if met.argument == "tcp-reset":
        end = "refused by reset"
    flight = met.flight
    return Followed(end, flight.destination, flight.port, mark=flight.mark, rules=flight.rules)
