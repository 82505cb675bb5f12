"""Carrying the difference into the kernel: the only part of the backend that talks to nftables.

One `Backend` per family. Its table is its own, told by name; nothing outside of it is read or written. The first `sync`
reads back what an earlier agent left and changes only what is wrong. Later ones send what changed: rules first (a new
way needs its chain before a handle leads there), then all elements in one transaction. `verify` notices what others did
to the table. When nft refuses anything, the next sync begins with a read-back.

Every call blocks on the kernel; whoever has an event loop calls it in a thread when much is to be done.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clew.base.metrics import Measure
from clew.base.value import Value
from clew.dataplane.nftables import layout, script
from clew.dataplane.nftables.layout import KEPT
from clew.dataplane.nftables.listing import UnreadableError, read_table
from clew.dataplane.nftables.programme import Owner, Programme
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.kernel.errors import KernelError
from clew.kernel.nft import ElementChange, ElementSet, KernelNft, Nft, NftError

if TYPE_CHECKING:
    from clew.dataplane.nftables.objects import Table

KUBE_PROXY = "kube-proxy"  # the table in which kube-proxy's own nftables mode has everything


def open_backends(where: Path | None, settings: Sequence[Settings], table: str = layout.TABLE) -> list["Backend"]:
    """One backend a family, in a network namespace or the caller's own; `table`: by which it knows what is its own."""
    return [Backend(KernelNft(where), each, table) for each in settings]


def remove_kube_proxys(where: Path | None) -> None:
    """Take away what a kube-proxy of mode nftables left: rules that nobody keeps right any more."""
    try:
        nft = KernelNft(where)
    except (OSError, KernelError):
        return  # without nftables there is nothing of it
    try:
        for ip in ("ip", "ip6"):
            if nft.listing(ip, KUBE_PROXY) is not None:
                nft.run(f"delete table {ip} {KUBE_PROXY}")
    finally:
        nft.close()


def missing(where: Path | None) -> str:
    """What this machine lacks; "" where nothing."""
    try:
        nft = KernelNft(where)
        try:
            nft.generation()
        finally:
            nft.close()
    except (OSError, KernelError) as refused:
        return f"no nftables here ({refused}): it needs libnftables and a kernel with nf_tables, 5.13 or newer"
    return ""


class SyncResult(Value):
    """What a sync did; all zero where everything was right."""

    commands: int = 0  # nft commands that changed rules
    added: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.commands or self.added or self.removed)


class Backend:
    quick = True

    def __init__(self, nft: Nft, settings: Settings, table: str = layout.TABLE) -> None:
        self._nft = nft
        self.settings, self.table = settings, table
        self.programme = Programme(settings, table)
        self._targets = [
            ElementSet(
                settings.ip, self.table, each.name, each.length(each.key, settings.ip),
                each.length(each.data, settings.ip), each.interval,
            )
            for each in KEPT
        ]  # fmt: skip
        self._known = False  # whether what is in the kernel was read and is believed
        self._waiting: dict[Owner, Iterable[Balancer]] = {}  # wanted, but not yet known to the programme
        self._structure: Table | None = None  # in the kernel
        self._fingerprint = b""
        self._generation = 0  # after which nobody but us changed anything
        self._refused = {"sync": 0, "cleanup": 0}

    def prepare(self) -> None:
        """Nothing: nftables needs no more than its own table."""

    async def serve(self) -> None:
        """Nothing: the rules need nobody."""

    def close(self) -> None:
        """Give the kernel's descriptors back."""
        self._nft.close()

    def measures(self) -> tuple[Measure, ...]:
        """How often nft refused."""
        family = (("ip_family", f"IPv{self.settings.family}"),)
        return tuple(
            Measure(
                f"kubeproxy_sync_proxy_rules_nftables_{what}_failures_total",
                f"How often nft refused a {what}",
                times,
                family,
                "counter",
            )
            for what, times in self._refused.items()
        )

    def sync(self, changes: Mapping[Owner, Iterable[Balancer]]) -> SyncResult:
        """Want these services so, and make the kernel follow. NftError: refused; sync again, changes need no repeat."""
        self._waiting.update(changes)
        if not self._known:
            self._read_back()
        self.programme.want(self._waiting)
        self._waiting = {}
        try:
            commands = self._sync_structure()
            added, removed = self._sync_elements()
        except NftError:
            self._known = False
            self._refused["sync"] += 1
            raise
        return SyncResult(commands, added, removed)

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family, from the next sync on."""
        self.settings = settings
        self.programme.settle(settings)

    def expect(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """Want these services so with the next sync."""
        self._waiting.update(changes)

    def verify(self) -> bool:
        """Whether the table is still as we left it; if not, the next sync repairs it.

        Costs one question to the kernel as long as nobody else commits anything to nftables in this namespace.
        """
        if not self._known:
            return False
        generation = self._nft.generation()
        if generation == self._generation:
            return True
        if self._nft.fingerprint(self.settings.ip, self.table) != self._fingerprint:
            self._known = False
            return False
        found = self.read_elements()
        right = all(delta.actual == found[name] for name, delta in self.programme.deltas.items())
        self.programme.found(found)
        self._generation = generation
        return right

    def tidy(self) -> None:
        """Let the chains of ways that no service uses any more go with the next sync."""
        self.programme.retire_ways()

    def remove(self) -> None:
        """Take everything of ours out of the kernel; what is not there is fine."""
        self._known = False
        try:
            if self._nft.listing(self.settings.ip, self.table) is not None:
                self._nft.run(f"delete table {self.settings.ip} {self.table}")
        except NftError:
            self._refused["cleanup"] += 1
            raise

    def _read_back(self) -> None:
        generation = self._nft.generation()
        text = self._nft.listing(self.settings.ip, self.table)
        try:
            self._structure = read_table(text) if text else None
        except UnreadableError:  # not even its head is as we write it: made anew below
            self._structure = None
        found = self.read_elements() if self._structure else {}
        self.programme.adopt(found, self._structure)
        self.programme.found(found)
        self._fingerprint = self._nft.fingerprint(self.settings.ip, self.table)
        self._generation = generation
        self._known = True

    def read_elements(self) -> dict[str, dict[bytes, bytes]]:
        """Every element in the kernel, by set."""
        found: dict[str, dict[bytes, bytes]] = {}
        for target in self._targets:
            try:
                found[target.name] = self._nft.elements(target)
            except NftError as refused:
                if not refused.absent:
                    raise
                found[target.name] = {}
        return found

    def _sync_structure(self) -> int:
        wanted = self.programme.structure()
        if wanted == self._structure:
            return 0
        if self._structure is None or script.is_other(self._structure, wanted):
            commands = script.replace(wanted)
            self.programme.found({})
        else:
            commands = script.change(self._structure, wanted)
        if commands:
            self._write(lambda: self._nft.run("\n".join(commands)))
            self._fingerprint = self._nft.fingerprint(self.settings.ip, self.table)
        self._structure = wanted
        return len(commands)

    def _sync_elements(self) -> tuple[int, int]:
        changes = []
        for target in self._targets:
            delta = self.programme.deltas[target.name]
            if delta:
                changed = [key for key in delta.updates if key in delta.actual]
                changes.append(ElementChange(target, [*delta.deletions, *changed], delta.updates))
        if not changes:
            return 0, 0
        added = sum(len(change.add) for change in changes)
        removed = sum(len(change.remove) for change in changes)
        self._write(lambda: self._nft.change(changes))
        for change in changes:
            self.programme.deltas[change.target.name].done_whole()
        return added, removed

    def _write(self, action: Callable[[], None]) -> None:
        """Do it, and notice if somebody else committed something at the same time."""
        before = self._nft.generation()
        action()
        if before == self._generation:
            self._generation = before + 1
