"""A packet's way through a node in IPVS mode: firewall, marks, the choice of a real server, masquerade. Pure.

Reads what is wanted or what was read back (`State`), never load balancing. The choice of a scheduler is any real server
with a weight; a persistent client that is remembered gets its own.
"""

from collections.abc import Iterator, Mapping

import msgspec

from clew.base.xtables import Flight, Scene, walk
from clew.base.xtables import Outcome as Verdict
from clew.dataplane.ipvs.objects import State, VirtualKey
from clew.ir.balancing import Protocol
from clew.ir.packets import End, Memory, Outcome, Packet, Surroundings

REFUSALS: Mapping[str, End] = {"tcp-reset": "refused by reset"}
PROTOCOLS: Mapping[str, Protocol] = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}


class Followed(Outcome):
    """An outcome with the rules that the packet met and the virtual server that took it, for explanations."""

    rules: tuple[str, ...] = ()
    server: VirtualKey | None = None


def simulate(
    state: State, packet: Packet, around: Surroundings, known: frozenset[Memory] = frozenset()
) -> frozenset[Followed]:
    """Every outcome that the first packet of a connection can have on this node."""
    own = around.from_here and packet.destination in state.addresses
    flight = Flight(
        packet.destination if own else packet.source,  # the kernel's choice for what goes to an address of the node
        packet.destination,
        packet.protocol.lower(),
        packet.port,
        packet.mark,
        packet.interface,
    )
    return frozenset(_Way(state, packet, around, known).outcomes(flight))


class _Way:
    def __init__(self, state: State, packet: Packet, around: Surroundings, known: frozenset[Memory]) -> None:
        self._state, self._around, self._known = state, around, known
        self._scene = Scene(around.addresses | state.addresses, state.sets)
        self._mark = packet.mark

    def outcomes(self, flight: Flight) -> Iterator[Followed]:
        first = "OUTPUT" if self._around.from_here else "PREROUTING"
        for entered in self._through("mangle", first, flight):
            if entered.verdict == "DROP":
                yield self._stopped("dropped", entered.flight)
                continue
            for marked in self._through("nat", first, entered.flight):
                yield from self._arrived(marked.flight)

    def _arrived(self, flight: Flight) -> Iterator[Followed]:
        """After routing: IPVS takes what the node itself sends before any filter, and what arrives after it."""
        key: VirtualKey = (PROTOCOLS[flight.protocol], flight.destination, flight.port)
        local = flight.destination in self._scene.local
        if self._around.from_here and key in self._state.servers:
            yield from self._balanced(key, flight)
            return
        if not local:
            yield from self._leaving(flight, None)
            return
        for filtered in self._through("filter", "INPUT", flight):
            if filtered.verdict == "REJECT":
                yield self._stopped(REFUSALS.get(filtered.argument, "refused by icmp"), filtered.flight)
            elif key in self._state.servers:
                yield from self._balanced(key, filtered.flight)
            elif self._around.from_here:  # over the loopback, past postrouting
                yield from self._leaving(filtered.flight, None)
            else:
                yield self._ended(filtered.flight, masqueraded=False)

    def _balanced(self, key: VirtualKey, flight: Flight) -> Iterator[Followed]:
        reals = [at for at, weight in self._state.reals.get(key, {}).items() if weight > 0]
        persistence = self._state.servers[key].persistence
        if not reals:
            yield self._stopped("refused by icmp", flight, key)
            return
        client = (*key, flight.source)
        kept = [at for at in reals if (*client, *at) in self._known] if persistence else []
        for address, port in kept or reals:
            memory: tuple[Memory, ...] = ((*client, address, port),) if persistence else ()
            sent = msgspec.structs.replace(flight, destination=address, port=port)
            for outcome in self._leaving(sent, key):
                yield msgspec.structs.replace(outcome, remembered=memory)

    def _leaving(self, flight: Flight, key: VirtualKey | None) -> Iterator[Followed]:
        for left in self._through("nat", "POSTROUTING", flight):
            yield self._ended(left.flight, masqueraded=left.verdict == "MASQUERADE", key=key)

    def _ended(self, flight: Flight, *, masqueraded: bool, key: VirtualKey | None = None) -> Followed:
        end: End = "goes on"
        return Followed(end, flight.destination, flight.port, masqueraded, flight.mark, (), flight.rules, key)

    def _stopped(self, end: End, flight: Flight, key: VirtualKey | None = None) -> Followed:
        return Followed(end, flight.destination, flight.port, mark=self._mark, rules=flight.rules, server=key)

    def _through(self, table: str, chain: str, flight: Flight) -> Iterator[Verdict]:
        chains: Mapping[str, tuple[str, ...]] = self._state.rules.get(table, {})
        return walk(chains, chain, flight, self._scene)
