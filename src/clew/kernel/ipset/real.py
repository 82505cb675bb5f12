"""ipset of the running kernel, over nfnetlink: the real half of the port.

Entries go many to a message; the kernel takes them one by one and stops at the first that it refuses. A dump that the
kernel marks as interrupted is begun again.
"""

import errno
import threading
from collections.abc import Iterable
from typing import get_args

from clew.kernel.errors import KernelError
from clew.kernel.ipset import wire
from clew.kernel.ipset.port import IpSet, IpSetError, Kind
from clew.kernel.netns import Namespace
from clew.kernel.nfnetlink import Channel, attribute, attributes, nested

EXCLUSIVE = 0x200  # NLM_F_EXCL: without it the kernel takes a set of another type for the one that was asked for
ENTRIES = 400  # a message; an attribute holds 64 KiB, an IPv6 entry up to 100 bytes
KINDS = frozenset(get_args(Kind))


class KernelIpSets:
    """`ns`: the network namespace to work in (path or descriptor); None: the calling thread's own."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._channel = Channel(ns)
        self._lock = threading.Lock()
        self._revisions: dict[tuple[str, int], int] = {}

    def close(self) -> None:
        self._channel.close()

    def sets(self) -> dict[str, IpSet]:
        flags = attribute(wire.FLAGS, wire.HEADERS_ONLY.to_bytes(4, "big"))
        payload = attribute(wire.PROTOCOL, bytes((wire.PROTOCOL_VERSION,))) + flags
        found = {}
        for part in self._dump(payload, "list sets"):
            name, kind, family = wire.read_header(part)
            if kind in KINDS:
                known: Kind = kind  # type: ignore[assignment]  # it is one of the literals, as just asked
                found[name] = IpSet(name, known, 6 if family == wire.FAMILIES[6] else 4)
        return found

    def create(self, what: IpSet) -> None:
        doing = f"create set {what.name} of type {what.kind}"
        try:
            with self._lock:
                self._ask(wire.CREATE, EXCLUSIVE, wire.create(what, self._revision(what)), doing)
        except IpSetError as refused:
            if not refused.exists or self.sets().get(what.name) != what:
                raise

    def destroy(self, name: str) -> None:
        try:
            with self._lock:
                self._ask(wire.DESTROY, 0, wire.command(name), f"destroy set {name}")
        except IpSetError as refused:
            if not refused.absent:
                raise

    def entries(self, name: str) -> set[str]:
        return {text for part in self._dump(wire.command(name), f"list set {name}") for text in wire.read_entries(part)}

    def change(self, what: IpSet, remove: Iterable[str], add: Iterable[str]) -> None:
        with self._lock:
            for kind, texts, verb in ((wire.DELETE, remove, "from"), (wire.ADD, add, "to")):
                waiting = list(texts)
                while waiting:
                    some, waiting = waiting[:ENTRIES], waiting[ENTRIES:]
                    data = b"".join(nested(wire.DATA, wire.entry(what, text)) for text in some)
                    payload = wire.command(what.name) + nested(wire.ADT, data)
                    payload += attribute(wire.LINE, (0).to_bytes(4, "little"))
                    doing = f"{'add' if verb == 'to' else 'remove'} {_named(some)} {verb} set {what.name}"
                    self._ask(kind, 0, payload, doing)

    def _revision(self, what: IpSet) -> int:
        """The newest revision of a type that this kernel has."""
        key = (what.kind, what.family)
        if key not in self._revisions:
            doing = f"ask for sets of type {what.kind}"
            answer = self._ask(wire.TYPE, 0, wire.type_query(what), doing)
            found = {kind: answer[start:end] for kind, start, end in attributes(answer, 0, len(answer))}
            self._revisions[key] = found[wire.REVISION][0]
        return self._revisions[key]

    def _ask(self, kind: int, flags: int, payload: bytes, doing: str) -> bytes:
        """What the kernel answers before it acknowledges, if anything."""
        try:
            return self._channel.ask(kind, 2, payload, doing, flags)
        except KernelError as refused:
            raise _refused(refused.number, doing) from refused

    def _dump(self, payload: bytes, doing: str) -> list[bytes]:
        try:
            with self._lock:
                return self._channel.dump(wire.LIST, 2, payload, doing)
        except KernelError as refused:
            raise _refused(refused.number, doing) from refused


def _refused(number: int, doing: str) -> IpSetError:
    """The numbers of ipset begin where errno ends; three of them have an errno that says the same."""
    detail = wire.ERRORS.get(number, "")
    return IpSetError(
        {4100: errno.EBUSY, 4109: errno.EBUSY, 4102: errno.EEXIST}.get(number, number), doing, detail=detail
    )


def _named(some: list[str]) -> str:
    return some[0] if len(some) == 1 else f"{some[0]} and {len(some) - 1} more"
