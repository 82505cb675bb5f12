"""IPVS of the running kernel, over generic netlink: the real half of the port.

Changes go many to a send, each acknowledged by itself. Who only looks loads no module and finds nothing.
"""

import errno
import threading
from collections.abc import Mapping, Sequence

from clew.kernel import modules
from clew.kernel.errors import KernelError
from clew.kernel.ipvs import wire
from clew.kernel.ipvs.port import (
    Change,
    Delete,
    DeleteReal,
    IpvsError,
    Put,
    PutReal,
    RealServer,
    Timeouts,
    VirtualKey,
    VirtualServer,
)
from clew.kernel.netns import Namespace
from clew.kernel.nfnetlink import ACK, ERROR, NETLINK_GENERIC, Channel, error_number, message

BATCH = 100  # changes in one send; every answer has to fit into the socket's buffer
ABSENT = "the kernel has no IPVS (ip_vs)"


class KernelIpvs:
    """`ns`: the network namespace to work in (path or descriptor); None: the calling thread's own."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._channel = Channel(ns, NETLINK_GENERIC)
        self._lock = threading.Lock()
        self._family = 0

    def close(self) -> None:
        self._channel.close()

    def load(self) -> None:
        with self._lock:
            if self._resolved():
                return
            why = modules.load("ip_vs")
            if why or not self._resolved():
                raise IpvsError(errno.EOPNOTSUPP, "use IPVS", detail=f"{ABSENT}: {why}" if why else ABSENT)

    def servers(self) -> Mapping[VirtualKey, VirtualServer]:
        found = (wire.read_service(part) for part in self._dump(wire.GET_SERVICE, b"", "list virtual servers"))
        return dict(each for each in found if each is not None)

    def real_servers(self, key: VirtualKey) -> Sequence[RealServer]:
        parts = self._dump(wire.GET_DEST, wire.of_service(key), f"list real servers of {key}")
        return [wire.read_real(part, key.family) for part in parts]

    def attempt(self, changes: Sequence[Change]) -> list[IpvsError | None]:
        with self._lock:
            kind = self._kind("change virtual servers")
            answers: list[IpvsError | None] = []
            for start in range(0, len(changes), BATCH):
                answers += self._exchange(kind, changes[start : start + BATCH])
            return answers

    def timeouts(self) -> Timeouts:
        with self._lock:
            return wire.read_timeouts(self._ask(wire.GET_CONFIG, b"", "read IPVS time-outs"))

    def set_timeouts(self, timeouts: Timeouts) -> None:
        with self._lock:
            self._ask(wire.SET_CONFIG, wire.timeouts(timeouts), "set IPVS time-outs")

    def _exchange(self, kind: int, changes: Sequence[Change]) -> list[IpvsError | None]:
        places: dict[int, int] = {}
        data = b""
        for place, change in enumerate(changes):
            command, payload = wire.request(change)
            sequence = self._channel.next_sequence()
            places[sequence] = place
            data += message(kind, ACK, sequence, command, payload)
        self._channel.send(data, "change virtual servers")
        answers: list[IpvsError | None] = [None] * len(changes)
        for answer, answered, _, sequence, start, _ in self._channel.receive("change virtual servers"):
            if answered != ERROR or sequence not in places:
                continue
            place = places.pop(sequence)
            number = error_number(answer, start)
            if number:
                answers[place] = IpvsError(
                    number, describe(changes[place]), index=place, detail=_why(changes[place], number)
                )
            if not places:
                break
        return answers

    def _ask(self, command: int, payload: bytes, doing: str) -> bytes:
        """The attributes of the one answer, if any."""
        try:
            return self._channel.ask(self._kind(doing), command, payload, doing)
        except IpvsError:
            raise
        except KernelError as refused:
            raise IpvsError(refused.number, doing) from refused

    def _dump(self, command: int, payload: bytes, doing: str) -> list[bytes]:
        with self._lock:
            if not self._resolved():
                return []
            kind = self._kind(doing)
            try:
                return self._channel.dump(kind, command, payload, doing)
            except KernelError as refused:
                raise IpvsError(refused.number, doing, detail=refused.detail) from refused

    def _kind(self, doing: str) -> int:
        """The message type that the kernel gave to IPVS."""
        if not self._resolved():
            raise IpvsError(errno.EOPNOTSUPP, doing, detail=ABSENT)
        return self._family

    def _resolved(self) -> bool:
        self._family = self._family or self._channel.generic(wire.NAME)
        return bool(self._family)


def missing(ns: Namespace | None = None) -> str:
    """What this kernel lacks to have virtual servers, in one sentence; "" where nothing. Loads the module."""
    port = KernelIpvs(ns)
    try:
        port.load()
    except IpvsError as refused:
        return refused.detail or str(refused)
    finally:
        port.close()
    return ""


def describe(change: Change) -> str:
    match change:
        case PutReal(key=key, server=server):
            return f"{'edit' if change.known else 'add'} real server {server.address} port {server.port} of {key}"
        case DeleteReal(key=key, address=address, port=port):
            return f"delete real server {address} port {port} of {key}"
        case Put(key=key):
            return f"{'edit' if change.known else 'add'} virtual server {key}"
        case Delete(key=key):
            return f"delete virtual server {key}"


def _why(change: Change, number: int) -> str:
    if isinstance(change, Put) and number == errno.ENOENT:
        return f"the kernel has no scheduler {change.server.scheduler} (module ip_vs_{change.server.scheduler})"
    return ""
