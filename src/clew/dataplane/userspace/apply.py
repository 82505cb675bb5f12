"""Carrying the difference into the kernel and the proxy: the only part of the backend that has sockets and iptables.

One `Backend` per family. A sync first opens what new rules lead to, then writes the rules, then closes what none leads
to any more. `serve` is the proxy itself: without it connections wait in the kernel's queues.
"""

import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from socket import socket
from weakref import WeakValueDictionary

from clew.base.addresses import Family
from clew.base.clock import SystemClock
from clew.base.metrics import Measure
from clew.base.value import Value
from clew.base.xtables import Ruleset, Wanted, change, read, removal
from clew.dataplane.userspace.forwarder import Forwarder
from clew.dataplane.userspace.objects import State
from clew.dataplane.userspace.programme import Owner, Programme, adopted, state
from clew.dataplane.userspace.rules import OWNED
from clew.ir.balancing import Balancer, Protocol
from clew.ir.proxying import Settings
from clew.kernel.errors import KernelError
from clew.kernel.iptables import Iptables, KernelIptables
from clew.kernel.netns import socket_in

LISTENING = 0.75  # of the process's descriptors; the others are for connections, and for starting iptables
NR_OPEN = Path("/proc/sys/fs/nr_open")  # the kernel's own limit of one process
_RUNNING: "WeakValueDictionary[tuple[Path | None, Family], Backend]" = WeakValueDictionary()


def open_backends(where: Path | None, settings: Sequence[Settings]) -> list["Backend"]:
    """One backend a family, in a network namespace or the caller's own."""
    opened: Callable[[int, int], socket] = socket if where is None else partial(socket_in, where)
    made = [
        Backend(KernelIptables(where), Forwarder(each.family, opened, SystemClock()), each, len(settings))
        for each in settings
    ]
    _RUNNING.update({(where, backend.settings.family): backend for backend in made})
    return made


def running(where: Path | None, family: Family) -> "Backend":
    """The backend that this process has in a namespace, to see whom its ports stand for. KeyError: there is none."""
    return _RUNNING[where, family]


def missing(where: Path | None) -> str:
    """What this machine lacks; "" where nothing."""
    try:
        _ = KernelIptables(where).kind
    except KernelError as refused:
        return f"no iptables ({refused})"
    return ""


class SyncResult(Value):
    """What a sync did; all zero where everything was right."""

    tables: int = 0  # scripts for iptables
    sockets: int = 0  # opened and closed

    def __bool__(self) -> bool:
        return bool(self.tables or self.sockets)


class Backend:
    quick = False

    def __init__(self, iptables: Iptables, forwarder: Forwarder, settings: Settings, families: int = 1) -> None:
        """`families`: how many backends this process has; they share its descriptors."""
        self._iptables, self.forwarder, self._families = iptables, forwarder, families
        self.settings = settings
        self.programme = Programme(settings)
        self._found: Ruleset | None = None  # in the kernel; None: not known
        self._right = False  # whether all is as the programme says
        self._left_kinds = False  # whether the tables of other programs were looked through
        self._waiting: dict[Owner, Iterable[Balancer]] = {}  # wanted, but not yet known to the programme
        self._claims: dict[tuple[Protocol, int], socket] = {}
        self._denied: dict[tuple[Protocol, int], KernelError] = {}

    def prepare(self) -> None:
        """As many descriptors as the process can have: a listening socket a way, two sockets a connection."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        for limit in (int(NR_OPEN.read_text()), most):
            with suppress(ValueError, OSError):  # more than now is for whoever has CAP_SYS_RESOURCE
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
                self.forwarder.most = int(limit * LISTENING / self._families)
                return

    async def serve(self) -> None:
        """The proxy, until cancelled."""
        await self.forwarder.run()

    def close(self) -> None:
        """Give sockets back; the rules stay, and lead to nobody until the next agent listens there."""
        self.forwarder.close()
        for claim in self._claims.values():
            claim.close()
        self._claims.clear()
        self._iptables.close()

    def measures(self) -> Iterable[Measure]:
        """What the proxy carried."""
        family = (("ip_family", f"IPv{self.settings.family}"),)
        totals = self.forwarder.totals
        told = {
            "connections": ("Connections that found a backend", totals.connections),
            "retries": ("Times that a backend did not answer and the next was dialled", totals.retries),
            "failures": ("Connections for which no backend answered", totals.failures),
        }
        for name, (text, value) in told.items():
            yield Measure(f"clew_proxy_userspace_{name}_total", text, value, family, "counter")
        live = len(self.forwarder.live)
        yield Measure("clew_proxy_userspace_connections", "Connections at present", live, family)
        yield Measure(
            "clew_proxy_userspace_denied_node_ports", "Node ports that others have", len(self._denied), family
        )

    def sync(self, changes: Mapping[Owner, Iterable[Balancer]]) -> SyncResult:
        """Want these services so, and make kernel and proxy follow. KernelError: sync again, without repeating."""
        self._waiting.update(changes)
        if self._found is None:
            self._look()
        different = self.programme.want(self._waiting)
        self._waiting = {}
        if self._right and not different:
            return SyncResult()
        self._right = False
        result = self._follow()
        self._right = True
        return result

    def _follow(self) -> SyncResult:
        ways = self.programme.ways()
        before = set(self.forwarder.gates)
        refused = self.forwarder.offer(ways, adopted(self._found or {}, self.programme.lines()))
        claimed = self._claim()
        tables = self._write()
        self.forwarder.withdraw(ways)
        released = self._release()
        if refused is not None:
            raise refused
        return SyncResult(tables, len(before ^ set(ways)) + claimed + released)

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family, from the next sync on."""
        self.settings = settings
        self.programme.settle(settings)
        self._right = False

    def expect(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """Want these services so with the next sync."""
        self._waiting.update(changes)

    def verify(self) -> bool:
        """Whether the rules are still as we left them; if not, the next sync repairs them."""
        if self._found is None:
            return False
        denied = bool(self._denied)
        self._denied.clear()
        self._look()
        as_left = not change(self._rules(), self._found)
        self._right = self._right and as_left and not denied
        return as_left

    def tidy(self) -> None:
        """Nothing is kept for a while."""

    def remove(self) -> None:
        """Take our chains out of the kernel, whoever made them and by which programs; what is not there is fine."""
        self._found, self._right = None, False
        for each in self._iptables.kinds():
            _remove(each, self.settings.family)

    def state(self) -> State:
        """What is in force: the kernel's rules as they are, and the proxy's ways."""
        return state(_tables(self._iptables, self.settings.family), self.forwarder.ways, self.forwarder.ports)

    def _look(self) -> None:
        self._found = None
        self._found = _tables(self._iptables, self.settings.family)

    def _rules(self) -> Wanted:
        """With the ports of the ways that are wanted; those that go still listen while rules lead to them."""
        ways = self.programme.ways()
        return self.programme.rules({key: port for key, port in self.forwarder.ports.items() if key in ways})

    def _write(self) -> int:
        script = change(self._rules(), self._found or {})
        if not script:
            return 0
        self._found = None
        self._iptables.restore(self.settings.family, script)
        self._look()
        if not self._left_kinds:
            self._left_kinds = True
            for other in self._iptables.others():
                _remove(other, self.settings.family)
        return 1

    def _claim(self) -> int:
        """Hold the node ports. One that somebody else has is served all the same, as in the other modes."""
        count = 0
        for claim in sorted(self.programme.claims()):
            if claim not in self._claims and claim not in self._denied:
                try:
                    self._claims[claim] = self.forwarder.hold(*claim)
                    count += 1
                except KernelError as refused:
                    self._denied[claim] = refused
        return count

    def _release(self) -> int:
        gone = self._claims.keys() - self.programme.claims()
        for claim in gone:
            self._claims.pop(claim).close()
        return len(gone)


def _tables(iptables: Iptables, family: Family) -> Ruleset:
    there = iptables.tables(family)
    texts = (iptables.save(family, table) for table in OWNED if table in there)
    return {table: chains for text in texts for table, chains in read(text).items()}


def _remove(iptables: Iptables, family: Family) -> None:
    script = removal(OWNED, _tables(iptables, family))
    if script:
        iptables.restore(family, script)
