"""Carrying the difference into the kernel: the only part of the backend that writes maps and rules.

One `Backend` per family; programs and maps are shared. A sync writes what is led to before what leads there, and takes
away in the other order, so that a program never meets a set that is not whole. The first `sync` reads back what an
earlier agent left and changes only what is wrong; then the programs are attached. `serve` notices new devices and
addresses of the node.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from clew.base.metrics import Measure
from clew.base.value import Value
from clew.dataplane.ebpf import layout, rules
from clew.dataplane.ebpf.datapath import Datapath, KernelDatapath
from clew.dataplane.ebpf.facility import missing as missing  # noqa: PLC0414 - the mode's table has it from here
from clew.dataplane.ebpf.layout import NODES, WRITTEN
from clew.dataplane.ebpf.objects import TABLE, Chains, State
from clew.dataplane.ebpf.programme import Owner, Programme
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings
from clew.kernel.errors import KernelError
from clew.kernel.netlink.monitor import AddressChanged, LinkChanged, Monitor, Overrun
from clew.kernel.nft import KernelNft, Nft

logger = logging.getLogger(__name__)

RETRY = 1.0  # seconds


def open_backends(where: Path | None, settings: Sequence[Settings]) -> list["Backend"]:
    """One backend a family, in a network namespace or the caller's own."""
    datapath, lock = KernelDatapath(where), threading.Lock()
    return [Backend(datapath, KernelNft(where), each, where, lock) for each in settings]


class SyncResult(Value):
    """What a sync did; all zero where everything was right."""

    tables: int = 0  # of nftables, made anew
    written: int = 0  # entries of maps
    removed: int = 0
    attached: int = 0  # programs

    def __bool__(self) -> bool:
        return bool(self.tables or self.written or self.removed or self.attached)


class Backend:
    quick = True

    def __init__(
        self,
        datapath: Datapath,
        nft: Nft,
        settings: Settings,
        where: Path | None = None,
        lock: "threading.Lock | None" = None,
    ) -> None:
        """`lock`: of all backends of the datapath."""
        self._datapath, self._nft, self._where = datapath, nft, where
        self.settings = settings
        self.programme = Programme(settings)
        self._known = False  # whether what is in the kernel was read and is believed
        self._waiting: dict[Owner, Iterable[Balancer]] = {}  # wanted, but not yet known to the programme
        self._chains: Chains | None = None  # in the kernel
        self._fingerprint = b""
        self._lock = lock or threading.Lock()  # `serve` looks at devices while others may sync
        self._begun = False  # whether the kernel was once as it should be

    def prepare(self) -> None:
        """Nothing: programs need no more than their places."""

    async def serve(self) -> None:
        """Notice devices and addresses that come and go, until cancelled."""
        heard = asyncio.Event()
        with Monitor(self._where) as monitor:
            loop = asyncio.get_running_loop()

            def hear() -> None:
                if any(isinstance(each, AddressChanged | LinkChanged | Overrun) for each in monitor.drain()):
                    heard.set()

            loop.add_reader(monitor.fileno(), hear)
            try:
                while True:
                    await heard.wait()
                    heard.clear()
                    if not await _to_its_end(self.look_again):
                        await asyncio.sleep(RETRY)
                        heard.set()
            finally:
                loop.remove_reader(monitor.fileno())

    def close(self) -> None:
        """Give descriptors back; what is attached goes on."""
        self._datapath.close()
        self._nft.close()

    def measures(self) -> Iterable[Measure]:
        """How full the maps are."""
        family = ("ip_family", f"IPv{self.settings.family}")
        for name, delta in self.programme.deltas.items():
            labels = (("map", name), family)
            yield Measure("clew_proxy_ebpf_entries", "Entries of BPF maps", len(delta.actual), labels)

    def sync(self, changes: Mapping[Owner, Iterable[Balancer]]) -> SyncResult:
        """Want these services so, and make the kernel follow. KernelError: sync again, without repeating."""
        with self._lock:
            self._waiting.update(changes)
            return self._sync()

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family, from the next sync on."""
        self.settings = settings
        self.programme.settle(settings)

    def expect(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        """Want these services so with the next sync."""
        self._waiting.update(changes)

    def verify(self) -> bool:
        """Whether everything is still as we left it; if not, the next sync repairs it."""
        with self._lock:
            if not self._known:
                return False
            self.programme.look(self._datapath.surface())
            intact = self._datapath.intact(self.programme.surface.devices)
            if self._nft.fingerprint(self.settings.ip, TABLE) != self._fingerprint:
                self._chains, intact = None, False
            found = self._read_maps()
            right = all(delta.actual == found[name] for name, delta in self.programme.deltas.items())
            if not right:
                self.programme.found(found)
            return right and intact

    def look_again(self) -> bool:
        """The node's devices or addresses have changed. False where the kernel refused: to be tried again soon."""
        with self._lock:
            if not self._begun:
                return True  # the first sync will see them
            try:
                if self._known:
                    self.programme.look(self._datapath.surface())
                self._sync()
            except KernelError as refused:
                self._known = False
                logger.warning("devices of the node: %s; trying again in %g s", refused, RETRY)
                return False
        return True

    def tidy(self) -> None:
        """Nothing is kept for a while."""

    def remove(self) -> None:
        """Take everything of ours out of the kernel; what is not there is fine."""
        with self._lock:
            self._known = self._begun = False
            self._datapath.remove()
            if self._nft.listing(self.settings.ip, TABLE) is not None:
                self._nft.run(rules.removal(self.settings))

    def state(self) -> State:
        """What is in force, read from the kernel."""
        self._datapath.find()
        devices = {device.index: device.shown for device in self._datapath.surface().devices}
        chains = rules.read(self._nft.listing(self.settings.ip, TABLE) or "")
        return State(self.settings.family, self._read_maps(), chains, devices)

    def _sync(self) -> SyncResult:
        tables = 0
        try:
            if not self._known:
                self._read_back()
            self.programme.want(self._waiting)
            self._waiting = {}
            tables = self._write_table()
            written, removed = self._write_maps()
            attached = self._datapath.attach(self.programme.surface.devices)
        except KernelError:
            self._known = False
            raise
        self._begun = True
        return SyncResult(tables, written, removed, attached)

    def _read_back(self) -> None:
        listing = self._nft.listing(self.settings.ip, TABLE)
        self._chains = rules.read(listing) if listing else None
        self._fingerprint = self._nft.fingerprint(self.settings.ip, TABLE)
        self._write_table()  # it brings connection tracking, which programs call
        self._datapath.open()
        self.programme.look(self._datapath.surface())
        found = self._read_maps()
        self.programme.adopt(found)
        self.programme.found(found)
        self._datapath.intact(self.programme.surface.devices)
        self._known = True

    def _read_maps(self) -> dict[str, dict[bytes, bytes]]:
        maps, family = self._datapath.maps, self.settings.family
        return {name: layout.of_family(name, maps[name].items(), family) for name in WRITTEN}

    def _write_table(self) -> int:
        wanted = rules.chains()
        if wanted == self._chains:
            return 0
        self._nft.run(rules.script(self.settings))
        self._fingerprint = self._nft.fingerprint(self.settings.ip, TABLE)
        self._chains = wanted
        return 1

    def _write_maps(self) -> tuple[int, int]:
        deltas, maps = self.programme.deltas, self._datapath.maps
        if not any(deltas.values()):
            return 0, 0
        written = removed = 0
        for name in WRITTEN:
            if deltas[name].updates:
                maps[name].update_all(list(deltas[name].updates.items()))
                written += len(deltas[name].updates)
        for name in reversed(WRITTEN):
            gone = deltas[name].deletions
            if gone and name != NODES:  # an array has all its entries for good
                maps[name].delete_all(list(gone))
                removed += len(gone)
        for delta in deltas.values():
            delta.done_whole()
        self.programme.written()
        return written, removed


async def _to_its_end(look: Callable[[], bool]) -> bool:
    """In a thread, which is not cancelled with its task: who closes what it uses comes after it."""
    looking = asyncio.get_running_loop().run_in_executor(None, look)
    try:
        return await asyncio.shield(looking)
    except asyncio.CancelledError:
        await looking
        raise
