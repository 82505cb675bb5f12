"""The kernel's table of connections: listed by family and protocol, entries deleted one by one. Knows no service.

`Conntrack` is the port, `KernelConntrack` the real thing over ctnetlink, `FakeConntrack` the one that tests use; one
suite runs on both. Called by dataplane/conntrack. Source: nfnetlink_conntrack.h.
"""

import errno
import threading
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Literal, Protocol

from clew.base.addresses import Family
from clew.base.value import Value
from clew.kernel.errors import KernelError
from clew.kernel.netns import Namespace
from clew.kernel.nfnetlink import ACK, ERROR, Channel, attribute, attributes, error_number, message, nested

Transport = Literal["TCP", "UDP", "SCTP"]
NUMBERS: dict[Transport, int] = {"TCP": 6, "UDP": 17, "SCTP": 132}

SUBSYSTEM = 1 << 8
GET, DELETE = SUBSYSTEM | 1, SUBSYSTEM | 2
ORIGINAL, REPLY, ID, ZONE, FILTER = 1, 2, 12, 18, 25  # CTA_*
TUPLE_IP, TUPLE_PROTO = 1, 2
PROTO_NUMBER, PROTO_SOURCE, PROTO_DESTINATION = 1, 2, 3
ORIGINAL_FLAGS, BY_PROTOCOL = 1, 1 << 3  # CTA_FILTER_ORIG_FLAGS; CTA_FILTER_F_CTA_PROTO_NUM
FAMILIES: dict[Family, int] = {4: 2, 6: 10}


class Flow(Value):
    """One connection: who asked whom, and who answers (another one where the destination was translated)."""

    family: Family
    protocol: Transport
    source: str
    source_port: int
    destination: str
    destination_port: int
    reply_source: str
    reply_source_port: int
    id: int = 0  # the kernel's own, by which a delete hits this entry and not its successor
    zone: int = 0

    @property
    def translated(self) -> bool:
        return (self.destination, self.destination_port) != (self.reply_source, self.reply_source_port)


class Conntrack(Protocol):
    def flows(self, family: Family, protocol: Transport) -> list[Flow]:
        """Every connection of a family and protocol."""
        ...

    def delete(self, flows: Iterable[Flow]) -> int:
        """Forget these; how many of them were still there."""
        ...

    def close(self) -> None: ...


class KernelConntrack:
    """`ns`: the network namespace to work in; None: the calling thread's own. Blocking."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._channel = Channel(ns)
        self._lock = threading.Lock()
        self._filters = True  # kernels before 5.8 cannot

    def close(self) -> None:
        self._channel.close()

    def flows(self, family: Family, protocol: Transport) -> list[Flow]:
        with self._lock:
            parts = self._dump(family, protocol)
        found = (_read(family, protocol, part) for part in parts)
        return [flow for flow in found if flow is not None]

    def delete(self, flows: Iterable[Flow]) -> int:
        with self._lock:
            return sum(self._delete(flow) for flow in flows)

    def _dump(self, family: Family, protocol: Transport) -> list[bytes]:
        what = f"list {protocol} connections of IPv{family}"
        wanted = nested(FILTER, attribute(ORIGINAL_FLAGS, BY_PROTOCOL.to_bytes(4, "little")))
        wanted += nested(ORIGINAL, nested(TUPLE_PROTO, attribute(PROTO_NUMBER, bytes((NUMBERS[protocol],)))))
        if self._filters:
            try:
                return self._channel.dump(GET, FAMILIES[family], wanted, what)
            except KernelError as refused:
                if refused.number not in {errno.EINVAL, errno.EOPNOTSUPP}:
                    raise
                self._filters = False
        return self._channel.dump(GET, FAMILIES[family], b"", what)

    def _delete(self, flow: Flow) -> bool:
        what = f"forget the connection from {flow.source} to {flow.destination} port {flow.destination_port}"
        payload = nested(ORIGINAL, _tuple(flow)) + attribute(ID, flow.id.to_bytes(4, "big"))
        if flow.zone:
            payload += attribute(ZONE, flow.zone.to_bytes(2, "big"))
        sequence = self._channel.next_sequence()
        self._channel.send(message(DELETE, ACK, sequence, FAMILIES[flow.family], payload), what)
        for data, kind, _, answers, start, _ in self._channel.receive(what):
            if answers == sequence and kind == ERROR:
                number = error_number(data, start)
                if number not in {0, errno.ENOENT}:
                    raise KernelError(number, what)
                return number == 0
        return False


def _tuple(flow: Flow) -> bytes:
    version = 2 if flow.family == 6 else 0
    addresses = attribute(1 + version, ip_address(flow.source).packed)
    addresses += attribute(2 + version, ip_address(flow.destination).packed)
    ports = attribute(PROTO_NUMBER, bytes((NUMBERS[flow.protocol],)))
    ports += attribute(PROTO_SOURCE, flow.source_port.to_bytes(2, "big"))
    ports += attribute(PROTO_DESTINATION, flow.destination_port.to_bytes(2, "big"))
    return nested(TUPLE_IP, addresses) + nested(TUPLE_PROTO, ports)


Tuple = tuple[int, str, int, str, int]  # protocol's number, source, its port, destination, its port


def _read(family: Family, protocol: Transport, data: bytes) -> Flow | None:
    """A dumped entry; None where it is of another protocol."""
    original: Tuple | None = None
    reply: Tuple | None = None
    identity = zone = 0
    for kind, start, end in attributes(data, 0, len(data)):
        if kind == ORIGINAL:
            original = _read_tuple(data, start, end)
            if original[0] != NUMBERS[protocol]:
                return None
        elif kind == REPLY:
            reply = _read_tuple(data, start, end)
        elif kind == ID:
            identity = int.from_bytes(data[start:end], "big")
        elif kind == ZONE:
            zone = int.from_bytes(data[start:end], "big")
    if original is None or reply is None:
        return None
    return Flow(family, protocol, *original[1:], reply[1], reply[2], identity, zone)


def _read_tuple(data: bytes, start: int, end: int) -> Tuple:
    source = destination = ""
    number = source_port = destination_port = 0
    for kind, begin, finish in attributes(data, start, end):
        for field, first, last in attributes(data, begin, finish):
            value = data[first:last]
            if kind == TUPLE_IP:
                if field in {1, 3}:
                    source = str(ip_address(value))
                else:
                    destination = str(ip_address(value))
            elif field == PROTO_NUMBER:
                number = value[0]
            elif field == PROTO_SOURCE:
                source_port = int.from_bytes(value, "big")
            elif field == PROTO_DESTINATION:
                destination_port = int.from_bytes(value, "big")
    return number, source, source_port, destination, destination_port


class FakeConntrack:
    """Connections in memory; a test fills `table`."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.table: list[Flow] = list(flows)
        self.deleted: list[Flow] = []

    def close(self) -> None:
        """Nothing is held."""

    def flows(self, family: Family, protocol: Transport) -> list[Flow]:
        return [flow for flow in self.table if (flow.family, flow.protocol) == (family, protocol)]

    def delete(self, flows: Iterable[Flow]) -> int:
        gone = [flow for flow in flows if flow in self.table]
        for flow in gone:
            self.table.remove(flow)
        self.deleted += gone
        return len(gone)
