"""Carrying the difference into the kernel: the only part of the backend that talks to IPVS, ipset, iptables and links.

One `Backend` per family. Real servers that are to go get no new connections, and go when they have none left; UDP and
SCTP know no end of a connection, so theirs go at once. After a refusal the next sync begins with a read-back.

Every call blocks on the kernel; whoever has an event loop calls it in a thread when much is to be done.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from clew.base.metrics import Measure
from clew.base.value import Value
from clew.base.xtables import Ruleset, removal, with_jumps
from clew.dataplane.ipvs import facility
from clew.dataplane.ipvs.objects import DEVICE, KINDS, At, Entry, State, VirtualKey, set_name
from clew.dataplane.ipvs.programme import Owner, Programme, RealKey
from clew.dataplane.ipvs.readback import Ports, kernel_key, node_addresses, read_rules, read_state
from clew.dataplane.ipvs.rules import OURS, SHARED
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.kernel.errors import KernelError
from clew.kernel.ipset import IpSet
from clew.kernel.iptables import Iptables, IptablesError
from clew.kernel.ipvs import Change, Delete, DeleteReal, IpvsError, Put, PutReal, RealServer
from clew.kernel.ipvs import VirtualServer as KernelServer
from clew.kernel.netlink.requests import Add, Request
from clew.kernel.netlink.requests import Delete as DeleteThing
from clew.kernel.netlink.values import Address, Link

missing = facility.missing
BITS = {4: 32, 6: 128}


def open_backends(where: Path | None, settings: Sequence[Settings]) -> list["Backend"]:
    """One backend a family, in a network namespace or the caller's own."""
    return [Backend(facility.open_ports(where), each) for each in settings]


class SyncResult(Value):
    """What a sync did; all zero where everything was right."""

    tables: int = 0  # scripts for iptables
    entries: int = 0  # of sets, and addresses, put or taken
    servers: int = 0  # changes of virtual and real servers

    def __bool__(self) -> bool:
        return bool(self.tables or self.entries or self.servers)


class Backend:
    quick = True

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self._ports = ports
        self.settings = settings
        self.programme = Programme(settings)
        self._known = False  # whether what is in the kernel was read and is believed
        self._rules: Ruleset = {}  # in the kernel
        self._lacking: list[IpSet] = []  # sets that the kernel does not have
        self._declined: list[IpvsError] = []  # changes that the kernel does not take, though it is as we think
        self._waiting: dict[Owner, Iterable[Balancer]] = {}  # wanted, but not yet known to the programme
        self._refused = {"sync": 0, "cleanup": 0}
        self._refused_rules = 0
        self._left_kinds = False  # whether the tables of other programs were looked through

    def prepare(self) -> None:
        """The device, sysctls, the scheduler's module. KernelError: this kernel lacks one, by name."""
        facility.prepare(self._ports, self.settings)

    async def serve(self) -> None:
        """Nothing: the kernel needs nobody."""

    def close(self) -> None:
        """Give the kernel's descriptors back."""
        self._ports.close()

    def measures(self) -> Iterable[Measure]:
        """How many real servers drain, and how often the kernel refused."""
        family = (("ip_family", f"IPv{self.settings.family}"),)
        draining = len(self.programme.reals.draining)
        yield Measure(
            "clew_proxy_ipvs_draining_real_servers", "Real servers that end with their connections", draining, family
        )
        for what, times in self._refused.items():
            name = f"clew_proxy_ipvs_{what}_failures_total"
            yield Measure(name, f"How often the kernel refused a {what}", times, family, "counter")
        name = "kubeproxy_sync_proxy_rules_iptables_restore_failures_total"
        yield Measure(name, "How often iptables-restore refused syncs", self._refused_rules, family, "counter")

    def sync(self, changes: Mapping[Owner, Iterable[Balancer]]) -> SyncResult:
        """Want these services so, and make the kernel follow. KernelError: refused; sync again, without repeating."""
        self._waiting.update(changes)
        try:
            if not self._known:
                self._look()
            self.programme.want(self._waiting)
            self._waiting = {}
            self._declined = []
            result = self._write()
        except KernelError as refusal:
            self._known = False
            self._refused["sync"] += 1
            self._refused_rules += isinstance(refusal, IptablesError)
            raise
        if self._declined:
            self._refused["sync"] += 1
            raise self._declined[0]
        return result

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family, from the next sync on."""
        self.settings = settings
        self.programme.settle(settings, self.programme.node_addresses)

    def expect(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """Want these services so with the next sync."""
        self._waiting.update(changes)

    def verify(self) -> bool:
        """Whether everything is as we left it and the node has the addresses it had; the next sync repairs it.

        Reads all of it, which is a question to the kernel for each virtual server.
        """
        if not self._known:
            return False
        before = self.programme.node_addresses
        self._look()
        return not self.programme and not self.programme.script(self._rules) and before == self.programme.node_addresses

    def tidy(self) -> None:
        """Real servers that drained go with the next sync."""
        waiting: dict[VirtualKey, list[RealKey]] = {}
        for key in self.programme.reals.draining:
            waiting.setdefault(key[0], []).append(key)
        for server, keys in waiting.items():
            connections = self._connections(server)
            for key in keys:
                if not connections.get(key[1]):
                    self.programme.let_go(key)

    def remove(self) -> None:
        """Take everything of ours out of the kernel, whoever made it; what is not there is fine.

        Chains whose names mode iptables has too stay where their rules are that mode's.
        """
        self._known = False
        try:
            if not self._is_here():
                return
            state = read_state(self._ports, self.settings)
            self._withdraw([Delete(kernel_key(key, self.settings)) for key in state.servers])
            for each in self._ports.iptables.kinds():
                self._remove_rules(each)
            for name in state.sets:
                self._ports.ipsets.destroy(name)
            self._remove_device(state)
        except KernelError:
            self._refused["cleanup"] += 1
            raise

    def _is_here(self) -> bool:
        """Whether anything of this mode is in the kernel; asking loads no module."""
        if self._ports.links.link(DEVICE) is not None:
            return True
        found = (read_rules(each, self.settings.family) for each in self._ports.iptables.kinds())
        return any(
            chain in chains for rules in found for table, chains in rules.items() for chain in OURS.get(table, ())
        )

    def _remove_rules(self, iptables: Iptables) -> None:
        """Our chains in the tables of one kind of programs."""
        rules = read_rules(iptables, self.settings.family)
        cluster = f"--match-set {set_name('KUBE-CLUSTER-IP', self.settings.family)} "
        shared = any(cluster in rule for rule in rules.get("nat", {}).get("KUBE-SERVICES", ()))
        owned = {table: (*chains, *(SHARED.get(table, ()) if shared else ())) for table, chains in OURS.items()}
        script = removal(owned, rules)
        if script:
            iptables.restore(self.settings.family, script)

    def _remove_device(self, state: State) -> None:
        """Our addresses, and with the last one of both families the device."""
        self._ports.links.request([DeleteThing(self._address(each)) for each in state.addresses])
        left = [each for each in self._ports.links.addresses() if each.dev == DEVICE and not each.link_local]
        if not left and self._ports.links.link(DEVICE) is not None:
            self._ports.links.request([DeleteThing(Link(DEVICE))])

    def _look(self) -> None:
        """Read everything back, and what the node's own addresses are."""
        if self._ports.links.link(DEVICE) is None:
            facility.prepare(self._ports, self.settings)
        self.programme.settle(self.settings, node_addresses(self._ports, self.settings))
        state = read_state(self._ports, self.settings)
        self.programme.found(state)
        self._rules = state.rules
        there = self._ports.ipsets.sets()
        self._lacking = [each for each in self._declared() if each.name not in there]
        self._known = True

    def _declared(self) -> list[IpSet]:
        family = self.settings.family
        return [
            IpSet(set_name(name, family), kind, 4 if kind == "bitmap:port" else family) for name, kind in KINDS.items()
        ]

    def _write(self) -> SyncResult:
        """Sets before the rules that name them; what leads to a server before it, and away from it after it."""
        tables = self._write_rules()
        programme = self.programme
        if not programme:
            return SyncResult(tables)
        added = self._write_entries(programme.entries.updates, ())
        added += self._write_addresses(programme.addresses.updates, ())
        servers = self._write_servers()
        removed = self._write_addresses((), programme.addresses.deletions)
        removed += self._write_entries((), programme.entries.deletions)
        return SyncResult(tables, added + removed, servers)

    def _write_rules(self) -> int:
        for each in self._lacking:
            self._ports.ipsets.create(each)
        self._lacking = []
        script = self.programme.script(self._rules)
        if not script:
            return 0
        self._ports.iptables.restore(self.settings.family, script)
        self._rules = with_jumps(self.programme.rules())
        if not self._left_kinds:
            self._left_kinds = True
            for other in self._ports.iptables.others():
                self._remove_rules(other)
        return 1

    def _write_entries(self, add: Iterable[Entry], remove: Iterable[Entry]) -> int:
        batches: dict[str, tuple[list[str], list[str]]] = {}
        for place, entries in enumerate((remove, add)):
            for name, text in entries:
                batches.setdefault(name, ([], []))[place].append(text)
        declared = {each.name: each for each in self._declared()}
        for name, (gone, new) in batches.items():
            self._ports.ipsets.change(declared[set_name(name, self.settings.family)], gone, new)
            for text in (*gone, *new):
                self.programme.entries.done((name, text))
        return sum(len(gone) + len(new) for gone, new in batches.values())

    def _write_addresses(self, add: Iterable[str], remove: Iterable[str]) -> int:
        requests: list[Request] = [Add(self._address(each), replace=True) for each in add]
        requests += [DeleteThing(self._address(each)) for each in remove]
        answers = self._ports.links.attempt(requests)
        for request, answer in zip(requests, answers, strict=True):
            if answer is not None and not (isinstance(request, DeleteThing) and answer.absent):
                raise answer
        for each in [*add, *remove]:
            self.programme.addresses.done(each)
        return len(requests)

    def _address(self, address: str) -> Address:
        return Address(f"{address}/{BITS[self.settings.family]}", DEVICE, nodad=self.settings.family == 6)

    def _write_servers(self) -> int:
        programme = self.programme
        servers, reals = dict(programme.servers.updates), dict(programme.reals.updates)
        changes: list[Change] = [
            Put(
                kernel_key(key, self.settings),
                KernelServer(*msgspec.structs.astuple(server)),
                key in programme.servers.actual,
            )
            for key, server in servers.items()
        ]
        changes += [
            PutReal(kernel_key(key, self.settings), RealServer(*at, weight), (key, at) in programme.reals.actual)
            for (key, at), weight in reals.items()
        ]
        answers = self._attempt(changes)
        taken = [answer is None for answer in answers]
        self._declined = [answer for answer in answers if answer is not None]
        for server in (key for key, well in zip(servers, taken, strict=False) if well):
            programme.servers.done(server)
        for real in (key for key, well in zip(reals, taken[len(servers) :], strict=True) if well):
            programme.reals.done(real)
        withdrawals = self._withdrawals()
        self._withdraw(withdrawals)
        for real in list(programme.reals.deletions):
            programme.reals.done(real)
        for server in list(programme.servers.deletions):
            programme.servers.done(server)
        return sum(taken) + len(withdrawals)

    def _withdrawals(self) -> list[Change]:
        """Real servers that nobody wants any more, at once or by and by, then virtual servers, with all behind them."""
        programme = self.programme
        quiet: list[Change] = []
        connections: dict[VirtualKey, Mapping[At, int]] = {}
        for key, at in sorted(programme.reals.deletions):
            if programme.ends(key) or key[0] != "TCP":
                continue
            if key not in connections:
                connections[key] = self._connections(key)
            if connections[key].get(at):
                if programme.reals.actual[key, at]:
                    quiet.append(PutReal(kernel_key(key, self.settings), RealServer(*at, 0), known=True))
                programme.drain((key, at))
        ending = programme.servers.deletions
        gone = [
            DeleteReal(kernel_key(key, self.settings), *at)
            for key, at in programme.reals.deletions
            if key not in ending
        ]
        return [*quiet, *gone, *(Delete(kernel_key(key, self.settings)) for key in ending)]

    def _connections(self, key: VirtualKey) -> Mapping[At, int]:
        """How many connections each real server of a virtual one has, ended ones that are still remembered included."""
        found = self._ports.ipvs.real_servers(kernel_key(key, self.settings))
        return {real.at: real.active + real.inactive for real in found}

    def _attempt(self, changes: Sequence[Change]) -> list[IpvsError | None]:
        """Carry out additions; what the kernel declines keeps the others from nothing, and is tried again.

        IpvsError: the kernel's answer shows that it is not as we thought; a read-back is due.
        """
        answers = self._ports.ipvs.attempt(changes) if changes else []
        for answer in answers:
            if answer is not None and (answer.absent or answer.exists):
                raise answer
        return answers

    def _withdraw(self, changes: Sequence[Change]) -> None:
        """Carry out removals; what is gone already is fine."""
        for answer in self._ports.ipvs.attempt(changes) if changes else []:
            if answer is not None and not answer.absent:
                raise answer
