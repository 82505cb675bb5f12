"""What the maps and rules do to a packet: the programs' decisions, run on values instead of packets and sockets.

Pure. It reads entries of maps, rendered or read back, never load balancing itself, so it can disagree with what was
meant. It knows only the first packet of a connection, which is the one that decides. Where the programs draw a random
number every draw is followed, so the answer is a set. The functions have the names of those in bpf/services_*.h.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from clew.dataplane.ebpf import layout
from clew.dataplane.ebpf.layout import (
    ADDRESSES,
    CLUSTER_IPS,
    ENDPOINTS,
    FRONTENDS,
    LINKS,
    MEMBERS,
    NODES,
    PODS,
    RANGES,
    Flag,
    Frontend,
    NodeFlag,
)
from clew.dataplane.ebpf.objects import State
from clew.dataplane.ebpf.rules import MARKED, REFUSALS
from clew.ir.packets import End, Memory, Outcome, Packet, Surroundings

HOOKED = ("TCP",)  # whose sockets ask when they connect; of datagrams only those of unconnected sockets would
HAS_PORTS = {"TCP", "UDP", "SCTP"}

Tables = Callable[[Packet], Iterable[Outcome]]  # what stands behind the programs
Memories = Mapping[tuple[int, str], tuple[str, int]]  # set and client: the endpoint it keeps


class Followed(Outcome):
    """`frontend`: whose entry decided, as the key in `frontends`; b"" where none did. `way`: sockets or packets."""

    frontend: bytes = b""
    way: str = ""


def no_tables(packet: Packet) -> Iterable[Outcome]:
    return [Outcome("goes on", packet.destination, packet.port, mark=packet.mark)]


def simulate(
    state: State,
    packet: Packet,
    around: Surroundings,
    known: tuple[Memory, ...] = (),
    *,
    sockets: bool | None = None,
    tables: Tables = no_tables,
) -> frozenset[Followed]:
    """Every outcome that the packet can have.

    `sockets`: whether its sender is a program in the node's control group, whose sockets are asked before there is a
    packet; by default only the node's own are. `tables`: what the tables behind the programs do to a packet that these
    left alone.
    """
    memories = {(int(each[0]), str(each[1])): (str(each[2]), int(each[3])) for each in known}
    asks_socket = around.from_here if sockets is None else sockets
    return frozenset(_Run(state, packet, around, memories, tables).outcomes(sockets=asks_socket))


class _Run:
    def __init__(self, state: State, packet: Packet, around: Surroundings, memories: Memories, tables: Tables) -> None:
        self._state, self._packet, self._around, self._memories = state, packet, around, memories
        self._tables = tables
        value = self._map(NODES).get(layout.index_of(state.family))
        self._node = layout.unpack_node(value) if value else None

    def outcomes(self, *, sockets: bool) -> Iterator[Followed]:
        if self._node is None:
            yield self._goes_on()
            return
        if sockets and self._packet.protocol in HOOKED:
            asked = list(self._connect())
            if asked or self._around.from_here:
                yield from asked or self._behind(self._packet)
                return
        if self._around.from_here:
            yield from self._behind(self._packet)
        else:
            yield from self._services()

    def _map(self, name: str) -> Mapping[bytes, bytes]:
        return self._state.maps.get(name, {})

    def _goes_on(self) -> Followed:
        packet = self._packet
        return Followed("goes on", packet.destination, packet.port, mark=packet.mark)

    def _frontend_of(self) -> tuple[bytes, Frontend | None]:
        packet, family = self._packet, self._state.family
        frontends = self._map(FRONTENDS)
        key = layout.pack_frontend_key(family, packet.destination, packet.protocol, packet.port)
        if key not in frontends and layout.pack_address(packet.destination) in self._map(ADDRESSES):
            key = layout.pack_frontend_key(family, "", packet.protocol, packet.port)
        value = frontends.get(key)
        return key, layout.unpack_frontend(value) if value else None

    def _is_cluster_address(self) -> bool:
        return layout.pack_address(self._packet.destination) in self._map(CLUSTER_IPS)

    def _connect(self) -> Iterator[Followed]:
        """A socket asks; nothing: it is left to its packets."""
        packet, node, own = self._packet, self._node, self._around.from_here
        if node is None or (not own and NodeFlag.MASQUERADE_ALL in node.flags):
            return
        key, frontend = self._frontend_of()
        if frontend is None:
            if self._is_cluster_address():
                yield self._end("refused by reset", way="sockets")
            return
        if not own and Flag.EXTERNAL in frontend.flags:
            return
        client = node.address if own else ""
        for end, found in self._choose(key, frontend, client or packet.source, f"socket {packet.source}", inside=True):
            if found is None:
                yield self._end(end, key, "sockets")
                continue
            address, port, remembered = found
            yield Followed(
                "goes on", address, port, masqueraded=own, mark=packet.mark, remembered=remembered, frontend=key,
                way="sockets",
            )  # fmt: skip

    def _services(self) -> Iterator[Followed]:
        """A packet arrives at a device."""
        packet, node = self._packet, self._node
        key, frontend = self._frontend_of() if packet.protocol in HAS_PORTS else (b"", None)
        if frontend is None or node is None:
            mark = node.refused_mark if node and self._is_cluster_address() else 0
            yield from self._behind(msgspec.structs.replace(packet, mark=packet.mark | mark))
            return
        if Flag.BY_TABLES in frontend.flags:
            yield from self._behind(packet)
            return
        inside = self._is_inside(node)
        for end, found in self._choose(key, frontend, packet.source, packet.source, inside=inside):
            if found is not None:
                address, port, remembered = found
                masqueraded = self._is_masqueraded(frontend, node, address, inside=inside) and bool(node.address)
                sent = msgspec.structs.replace(packet, destination=address, port=port)
                for outcome in self._netfilter(sent):
                    yield msgspec.structs.replace(
                        outcome, masqueraded=masqueraded, remembered=remembered, frontend=key, way="packets"
                    )
            elif end == "dropped":
                yield self._end(end, key, "packets")
            else:
                marked = msgspec.structs.replace(packet, mark=packet.mark | node.refused_mark)
                for outcome in self._netfilter(marked):
                    yield msgspec.structs.replace(outcome, frontend=key, way="packets")

    def _is_inside(self, node: layout.Node) -> bool:
        if NodeFlag.PODS_BY_LINK in node.flags:
            shown = {self._state.devices.get(layout.unpack_number(key)) for key in self._map(LINKS)}
            return self._packet.interface in shown
        asked = layout.pack_address(self._packet.source)
        return any(layout.covers(key, asked) for key in self._map(PODS))

    def _is_masqueraded(self, frontend: Frontend, node: layout.Node, to: str, *, inside: bool) -> bool:
        if self._packet.source == to:
            return True
        if Flag.EXTERNAL in frontend.flags:
            return Flag.LOCAL not in frontend.flags
        return NodeFlag.MASQUERADE_ALL in node.flags or (NodeFlag.KNOWS_PODS in node.flags and not inside)

    def _choose(
        self, key: bytes, frontend: Frontend, address: str, memory: str, *, inside: bool
    ) -> Iterator[tuple[End, tuple[str, int, tuple[Memory, ...]] | None]]:
        """Ends, with an endpoint and what is remembered where it goes on."""
        flags = frontend.flags
        here = Flag.LOCAL in flags and not (Flag.EXTERNAL in flags and inside)
        number, count = (frontend.local, frontend.locals) if here else (frontend.cluster, frontend.clusters)
        asked = key + layout.pack_address(address)
        if Flag.RESTRICTED in flags and not any(layout.covers(each, asked) for each in self._map(RANGES)):
            yield "dropped", None
            return
        if not count:
            yield "dropped" if Flag.SERVED in flags else "refused by reset", None
            return
        for drawn in self._draw(number, count, frontend.affinity, memory):
            yield ("dropped", None) if drawn is None else ("goes on", drawn)

    def _draw(
        self, number: int, count: int, affinity: int, memory: str
    ) -> Iterator[tuple[str, int, tuple[Memory, ...]] | None]:
        kept = self._memories.get((number, memory)) if affinity else None
        if kept and layout.pack_number(number) + layout.pack_endpoint(*kept) in self._map(MEMBERS):
            yield (*kept, ())
            return
        for index in range(count):
            value = self._map(ENDPOINTS).get(layout.pack_place(number, index))
            if value is None:
                yield None
                continue
            address, port = layout.unpack_endpoint(value)
            yield address, port, ((number, memory, address, port),) if affinity else ()

    def _behind(self, packet: Packet) -> Iterator[Followed]:
        """A packet that programs left as it is: translated by the tables, or met by the rules of the mode's own."""
        for outcome in self._tables(packet):
            if (outcome.end, outcome.destination, outcome.port) == ("goes on", packet.destination, packet.port):
                yield from self._netfilter(packet)
            else:
                fields = {field: getattr(outcome, field) for field in Outcome.__struct_fields__}
                if outcome.end != "goes on":
                    fields["mark"] = self._packet.mark
                yield Followed(**fields, way="tables")

    def _netfilter(self, packet: Packet) -> Iterator[Followed]:
        """The rules of the table in nftables, behind the programs."""
        hook = "input" if packet.destination in self._around.addresses else "forward"
        hook = "output" if self._around.from_here else hook
        for rule in self._state.chains.get(f"filter-{hook}", ()):
            if rule == MARKED and self._node and packet.mark & self._node.refused_mark:
                yield self._refusal(packet)
                return
        yield Followed("goes on", packet.destination, packet.port, mark=packet.mark)

    def _refusal(self, packet: Packet) -> Followed:
        rules = self._state.chains.get("refusal", ())
        if REFUSALS[0] in rules and packet.protocol == "TCP":
            return self._end("refused by reset", way="packets")
        if REFUSALS[1] in rules:
            return self._end("refused by icmp", way="packets")
        return Followed("goes on", packet.destination, packet.port, mark=packet.mark)

    def _end(self, end: End, frontend: bytes = b"", way: str = "") -> Followed:
        packet = self._packet
        return Followed(end, packet.destination, packet.port, mark=packet.mark, frontend=frontend, way=way)
