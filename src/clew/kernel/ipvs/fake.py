"""IPVS without a kernel: the tests' half of the port, held to the real one by the same suite."""

import errno
from collections.abc import Mapping, Sequence

import msgspec

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

SCHEDULERS = frozenset({"rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh", "lblc", "lblcr", "ovf", "fo"})


class FakeIpvs:
    """`reals` may be given counts of connections by a test; `broken`: how many changes are still refused (EBUSY)."""

    def __init__(self) -> None:
        self.virtuals: dict[VirtualKey, VirtualServer] = {}
        self.reals: dict[VirtualKey, dict[tuple[str, int], RealServer]] = {}
        self.configured = Timeouts(900, 120, 300)
        self.broken = 0
        self.changes: list[Change] = []  # that were carried out

    def close(self) -> None:
        """Nothing is held."""

    def load(self) -> None:
        """It is there."""

    def servers(self) -> Mapping[VirtualKey, VirtualServer]:
        return dict(self.virtuals)

    def real_servers(self, key: VirtualKey) -> Sequence[RealServer]:
        return list(self.reals.get(key, {}).values())

    def attempt(self, changes: Sequence[Change]) -> list[IpvsError | None]:
        answers: list[IpvsError | None] = []
        for place, change in enumerate(changes):
            number = self._carry_out(change)
            answers.append(IpvsError(number, str(change), index=place) if number else None)
            if not number:
                self.changes.append(change)
        return answers

    def timeouts(self) -> Timeouts:
        return self.configured

    def set_timeouts(self, timeouts: Timeouts) -> None:
        given = {name: value for name, value in msgspec.structs.asdict(timeouts).items() if value}
        self.configured = msgspec.structs.replace(self.configured, **given)

    def _carry_out(self, change: Change) -> int:
        if self.broken:
            self.broken -= 1
            return errno.EBUSY
        known = change.key in self.virtuals
        match change:
            case Put(key=key, server=server, known=edit):
                return self._put(key, server, edit=edit)
            case _ if not known:
                return errno.ESRCH
            case Delete(key=key):
                del self.virtuals[key], self.reals[key]
                return 0
            case PutReal(key=key, server=server, known=edit):
                return self._put_real(key, server, edit=edit)
            case DeleteReal(key=key, address=address, port=port):
                return 0 if self.reals[key].pop((address, port), None) else errno.ENOENT

    def _put(self, key: VirtualKey, server: VirtualServer, *, edit: bool) -> int:
        if (key in self.virtuals) != edit:
            return errno.ESRCH if edit else errno.EEXIST
        if server.scheduler not in SCHEDULERS:
            return errno.ENOENT
        self.virtuals[key] = server
        self.reals.setdefault(key, {})
        return 0

    def _put_real(self, key: VirtualKey, server: RealServer, *, edit: bool) -> int:
        there = self.reals[key].get(server.at)
        if (there is not None) != edit:
            return errno.ENOENT if edit else errno.EEXIST
        counts = (there.active, there.inactive) if there else (0, 0)
        self.reals[key][server.at] = msgspec.structs.replace(server, active=counts[0], inactive=counts[1])
        return 0
