"""The iptables backend at work: reads back once, then writes only what differs, each table in one transaction.

One `Backend` holds one family in one network namespace. The kernel is read whole at the first sync, when it refused
something, and whenever `verify` (asked every period) sees another text than the one that was right last time.

Every call runs a program: 5 ms for a few services, a second at 10,000, whatever the change, because the legacy kernel
interface hands over a table whole. Callers with an event loop make them in a thread when services are many.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clew.base.addresses import Family
from clew.base.metrics import Measure
from clew.base.value import Value
from clew.base.xtables import read
from clew.dataplane.iptables.counters import Counter
from clew.dataplane.iptables.objects import FIREWALL, FORWARD, NODE_PORTS, SIGNS, ChainKey
from clew.dataplane.iptables.programme import TABLES, Owner, Programme
from clew.dataplane.iptables.rules import INVALID, TO_LOOPBACK, on_loopback
from clew.dataplane.iptables.script import going, removal, script
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.kernel.errors import KernelError
from clew.kernel.iptables import Iptables, IptablesError, KernelIptables
from clew.kernel.sysctl import Settings as SysctlPort
from clew.kernel.sysctl import Sysctl

LOCALNET = "net.ipv4.conf.all.route_localnet"
PROBE = """*nat
:KUBE-PROBE - [0:0]
-A KUBE-PROBE -p tcp -m comment --comment probe -m recent --rcheck --name KUBE-PROBE -m tcp --dport 1 -j RETURN
-A KUBE-PROBE -m addrtype --dst-type LOCAL -m statistic --mode random --probability 0.5 -j RETURN
-A KUBE-PROBE -m conntrack --ctstate NEW -m mark --mark 1/1 -j MARK --set-xmark 1/1
-A KUBE-PROBE -p tcp -m tcp -j DNAT --to-destination 127.0.0.1:1
:KUBE-PROBE - [0:0]
-X KUBE-PROBE
COMMIT
"""  # every match and target that is needed, in a chain to which nothing leads, and which is gone again


def open_backends(where: Path | None, settings: Sequence[Settings]) -> list["Backend"]:
    """One backend a family, in a network namespace or the caller's own."""
    return [Backend(KernelIptables(where), each, Sysctl(where)) for each in settings]


def missing(where: Path | None) -> str:
    """What this machine lacks; "" where nothing. Rules of others stay as they are."""
    try:
        KernelIptables(where).restore(4, PROBE)
    except KernelError as refused:
        return f"no iptables here ({refused}): it needs the package iptables and a kernel with its matches"
    return ""


class SyncResult(Value):
    """What a sync did; 0 where everything was right."""

    commands: int = 0

    def __bool__(self) -> bool:
        return self.commands > 0


class Backend:
    """Of `sync`, `verify` and `remove` the caller runs one at a time."""

    quick = False

    def __init__(self, iptables: Iptables, settings: Settings, sysctl: SysctlPort) -> None:
        self._iptables, self._sysctl = iptables, sysctl
        self._left_kinds = False
        self._family = settings.family
        self.programme = Programme(settings)
        self._known = False
        self._right = b""  # digest of the text that was as wanted
        self._refused = self._refused_partial = 0
        self._invalid, self._on_loopback = Counter(), Counter()
        self._last: dict[str, int] = dict.fromkeys(TABLES, 0)
        self._total = self.programme.sizes()  # counted by whoever syncs: metrics are asked for by another thread

    @property
    def settings(self) -> Settings:
        return self.programme.settings

    def prepare(self) -> None:
        """Node ports on 127.0.0.1 need the kernel to route from there."""
        if self.settings.localhost_node_ports and self._family == 4:
            self._sysctl.write({LOCALNET: 1})

    async def serve(self) -> None:
        """Nothing: the rules need nobody."""

    def close(self) -> None:
        self._iptables.close()

    def sync(self, changes: Mapping[Owner, Iterable[Balancer]]) -> SyncResult:
        """Want these services so, and make the kernel follow. IptablesError: refused; sync again."""
        self.programme.want(changes)
        partial = self._known
        if not self._known:
            self._read_back()
        text = script(self.programme)
        if not text:
            return SyncResult()
        self._known, self._right = False, b""
        try:
            self._iptables.restore(self._family, text)
        except IptablesError:
            self._refused += 1
            self._refused_partial += partial
            raise
        self.programme.done()
        self._known = True
        self._leave_other_kinds()
        self._last = {table: _rules(text, table) for table in TABLES}
        self._total = self.programme.sizes()
        return SyncResult(text.count("\n") - 2 * text.count("COMMIT"))

    def expect(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """Want these services so with the next sync."""
        self.programme.want(changes)

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family, from the next sync on."""
        self.programme.settle(settings)

    def verify(self) -> bool:
        """Whether the tables still hold what we left there; if not, the next sync repairs them."""
        if not self._known:
            return False
        texts = self._texts()
        digest = hashlib.blake2b("".join(texts).encode(), digest_size=16).digest()
        self._count()
        if digest == self._right:
            return True
        self._take(texts)
        differs = bool(self.programme.chains or self.programme.lines)
        self._right = b"" if differs else digest
        return not differs

    def tidy(self) -> None:
        """Nothing is kept for later."""

    def remove(self) -> None:
        """Take everything of ours out of the kernel. Chains that another mode shares go only where iptables was on."""
        self._known, self._right = False, b""
        gone = [_remove(iptables, self._family) for iptables in self._iptables.kinds()]
        if any(("filter", FIREWALL) in chains for chains in gone) and self._family == 4:
            self._sysctl.write({LOCALNET: 0})  # who was kept from 127.0.0.0/8 by that chain is not let in without it

    def measures(self) -> tuple[Measure, ...]:
        """How many rules there are, how many the last sync wrote, how often the kernel refused."""
        family = ("ip_family", f"IPv{self._family}")
        start = "kubeproxy_sync_proxy_rules_iptables"
        rows = []
        for table in TABLES:
            labels = (("table", table), family)
            rows.append(Measure(f"{start}_total", "Rules owned by the service proxy", self._total[table], labels))
            rows.append(Measure(f"{start}_last", "Rules written by the last sync", self._last[table], labels))
        for counter, name, text in (
            (self._invalid, "ct_state_invalid_dropped", "that were invalid to connection tracking, and dropped"),
            (
                self._on_loopback,
                "localhost_nodeports_accepted",
                "accepted for node ports on loopback, one a connection",
            ),
        ):
            whole = f"kubeproxy_iptables_{name}_packets_total"
            rows.append(Measure(whole, f"Packets {text}, as of the last look", counter.total, (), "counter"))
        texts = {"restore": (self._refused, "syncs"), "partial_restore": (self._refused_partial, "partial syncs")}
        for what, (times, of) in texts.items():
            name = f"{start}_{what}_failures_total"
            rows.append(Measure(name, f"How often iptables-restore refused {of}", times, (family,), "counter"))
        return tuple(rows)

    def _count(self) -> None:
        """What kube-proxy counts by nfacct, the rules' own counters tell as well."""
        self._invalid.look(_of(self._iptables.met(self._family, "filter", FORWARD), INVALID))
        if on_loopback(self.settings):
            self._on_loopback.look(_of(self._iptables.met(self._family, "nat", NODE_PORTS), TO_LOOPBACK))

    def _leave_other_kinds(self) -> None:
        """Once our rules are in, what is left in the tables of the other kind of programs goes."""
        if not self._left_kinds:
            self._left_kinds = True
            for other in self._iptables.others():
                _remove(other, self._family)

    def _texts(self) -> list[str]:
        return [self._iptables.save(self._family, table) for table in TABLES]

    def _read_back(self) -> None:
        self._take(self._texts())
        self._known = True

    def _take(self, texts: Iterable[str]) -> None:
        ruleset = {table: chains for text in texts for table, chains in read(text).items()}
        self.programme.found(ruleset)


def _of(met: Mapping[str, int], start: str) -> dict[str, int]:
    """The rules that begin so."""
    return {rule: count for rule, count in met.items() if rule.startswith(start)}


def _remove(iptables: Iptables, family: Family) -> set[ChainKey]:
    """Take our chains away; returns those that went."""
    there = iptables.tables(family)
    found = {
        table: chains for name in TABLES if name in there for table, chains in read(iptables.save(family, name)).items()
    }
    if not any(chain in found.get(table, {}) for table, chain in SIGNS):
        return set()
    iptables.restore(family, removal(found))
    return going(found)


def _rules(text: str, table: str) -> int:
    """Rules that a script writes into a table."""
    _, _, rest = text.partition(f"*{table}\n")
    body = rest.partition("COMMIT")[0]
    return body.count("\n-A ") + body.count("\n-I ")
