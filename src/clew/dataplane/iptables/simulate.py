"""What the tables do to a packet: chains rendered or read back, run on values, hook after hook. Pure.

It knows only the first packet of a connection, which is the one that decides. Where chance decides every outcome is
given. Rules of others that were read back have their say too, and one whose words are not known is an error.
"""

from collections.abc import Iterator
from ipaddress import ip_address

import msgspec

from clew.base.xtables import Flight, Ruleset, Scene, walk
from clew.ir import packets
from clew.ir.packets import Memory, Packet, Surroundings

Stop = tuple[Flight, packets.End]


class Outcome(packets.Outcome):
    """`remembered`: client and the chain of the backend that it keeps."""

    rules: tuple[str, ...] = ()  # "chain: rule" of every rule that matched, in order


def simulate(
    tables: Ruleset, packet: Packet, around: Surroundings, known: tuple[Memory, ...] = ()
) -> frozenset[Outcome]:
    """Every outcome that the packet can have; `known`: what earlier outcomes remembered."""
    return frozenset(_Run(tables, packet, around, known).outcomes())


class _Run:
    def __init__(self, tables: Ruleset, packet: Packet, around: Surroundings, known: tuple[Memory, ...]) -> None:
        self._tables, self._packet, self._around = tables, packet, around
        names = frozenset(str(name) for client, name in known if client == packet.source)
        self._known = names
        self._scene = Scene(around.addresses, recent=names)
        self._start = Flight(
            packet.source, packet.destination, packet.protocol.lower(), packet.port, packet.mark, packet.interface
        )

    def outcomes(self) -> Iterator[Outcome]:
        for flight in self._translated("OUTPUT" if self._around.from_here else "PREROUTING", self._start):
            yield from self._filtered(flight)

    def _translated(self, chain: str, flight: Flight) -> Iterator[Flight]:
        for outcome in walk(self._tables.get("nat", {}), chain, flight, self._scene):
            if outcome.verdict == "DNAT":
                address, _, port = outcome.argument.rpartition(":")
                yield msgspec.structs.replace(outcome.flight, destination=address.strip("[]"), port=int(port))
            else:
                yield outcome.flight

    def _filtered(self, flight: Flight) -> Iterator[Outcome]:
        """The filter chains of the hooks on its way, then what leaves is masqueraded or not."""
        local = flight.destination in self._around.addresses or ip_address(flight.destination).is_loopback
        if self._around.from_here:
            hooks = ["OUTPUT", "INPUT"] if local else ["OUTPUT"]
        else:
            hooks = ["INPUT"] if local else ["FORWARD"]
        waiting: list[Flight] = [flight]
        for hook in hooks:
            passed = []
            for each in waiting:
                for outcome in walk(self._tables.get("filter", {}), hook, each, self._scene):
                    if outcome.verdict in {"DROP", "REJECT"}:
                        reset = outcome.argument == "tcp-reset"
                        refused: packets.End = "refused by reset" if reset else "refused by icmp"
                        yield self._outcome(outcome.flight, "dropped" if outcome.verdict == "DROP" else refused)
                    else:
                        passed.append(outcome.flight)
            waiting = passed
        for each in waiting:
            if local and not self._around.from_here:
                yield self._outcome(each, "goes on")
                continue
            for outcome in walk(self._tables.get("nat", {}), "POSTROUTING", each, self._scene):
                yield self._outcome(outcome.flight, "goes on", masqueraded=outcome.verdict == "MASQUERADE")

    def _outcome(self, flight: Flight, end: packets.End, *, masqueraded: bool = False) -> Outcome:
        kept = {name for name, doing in flight.hits if doing == "set"} - self._known
        return Outcome(
            end=end,
            destination=flight.destination,
            port=flight.port,
            masqueraded=masqueraded,
            mark=flight.mark,
            remembered=tuple((self._packet.source, name) for name in sorted(kept)),
            rules=flight.rules,
        )
