"""The DNS fast path of one node at work: facts in, the maps of a BPF program and its filters as they say.

One task runs the flow. Questions are answered on their way only while this is sure: all lists have arrived and are kept
up to date, the kernel took every change, the Corefile leaves the zone to the kubernetes plugin alone. It says so again
and again (`LEASE`), so that nothing is answered any more when this process is gone. Made and run by app/agent_dns.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from clew.base.clock import Clock
from clew.base.metrics import Registry
from clew.base.value import Value
from clew.compile.known_names import name_servers
from clew.dataplane.dns_fast_path import render
from clew.dataplane.dns_fast_path.apply import FastPathPlane
from clew.dataplane.dns_fast_path.objects import WORDS
from clew.dataplane.netlink.render import host_name
from clew.facts.attachment import Attachment
from clew.facts.corefile import Corefile
from clew.facts.endpointslice import EndpointSlice
from clew.facts.namespace import Namespace
from clew.facts.service import Service
from clew.ir.names import KnownZone
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Event, LinkChanged, Overrun
from clew.node.fast_names import FastNames, Key, by_namespace
from clew.reconcile import Pace, Turn
from clew.servers.dns.plain import NotPlainError, plain
from clew.store import Table

logger = logging.getLogger(__name__)

LEASE = 6.0  # seconds that the program answers without hearing from here
BEAT = 2.0  # seconds after which it hears at the latest
RETRY = 1.0
DRIFT = 30.0  # seconds after which the kernel is read back, should somebody have changed it
PATIENCE = 10.0  # seconds without the API server after which what is known may be old


class FastPathSettings(Value):
    """Of which objects it hears what the DNS servers are asked at, and told to do."""

    service: Key = ("kube-system", "kube-dns")
    corefile: Key = ("kube-system", "coredns")


@dataclass(frozen=True)
class FastPathTables:
    """Where facts come from; filled by reflectors, `attachments` by the node itself."""

    services: Table[Service]
    slices: Table[EndpointSlice]
    namespaces: Table[Namespace]
    corefiles: Table[Corefile]
    attachments: Table[Attachment]


class DnsFastPath:
    def __init__(
        self, settings: FastPathSettings, tables: FastPathTables, plane: FastPathPlane, clock: Clock, registry: Registry
    ) -> None:
        self._settings, self._tables, self._plane, self._clock = settings, tables, plane, clock
        self._pace = Pace(clock, least=0, most=BEAT, retry=RETRY)
        self._within = by_namespace(tables.services)
        self._slices_of = tables.slices.index(lambda part: (part.service_key,))
        self._corefile: Corefile | None = None
        self._names: FastNames | None = None
        self._serial = 0
        self._unheard: dict[str, float] = {}  # what is watched in vain, and since when
        self._indexes: dict[str, int] = {}  # of links
        self._came: set[str] = set()  # links that are not those of the last turn
        self._read_at = float("-inf")
        self._busy = False
        self._said = ""
        self._off = ""
        self._queries = registry.counter(
            "clew_dns_fast_path_queries_total", "Questions of pods to cluster DNS, answered here or passed on.",
            ("result", "reason"),
        )  # fmt: skip
        self._sure = registry.gauge("clew_dns_fast_path_sure", "Whether questions are answered at pods' links.")
        self._names_held = registry.gauge("clew_dns_fast_path_names", "Names that are known to exist.")
        registry.before_render(self._count)

    def heard(self, what: str, well: bool) -> None:  # noqa: FBT001 - a reflector's `health`
        """Whether the API server is heard about one kind of object."""
        if well:
            self._unheard.pop(what, None)
        else:
            self._unheard.setdefault(what, self._clock.monotonic())

    def notice(self, events: Iterable[Event]) -> None:
        """Links of the node came, went or changed."""
        for event in events:
            match event:
                case LinkChanged(link, gone):
                    index = 0 if gone else link.index
                    if self._indexes.get(link.name, 0) != index:
                        self._came.add(link.name)
                        self._pace.poke()
                    self._indexes[link.name] = index
                    if gone:
                        del self._indexes[link.name]
                case Overrun():
                    self._read_at = float("-inf")
                    self._pace.poke()

    async def run(self) -> None:
        """Until cancelled; what is in the kernel stays, and answers nothing after `LEASE`."""
        known = self._tables
        tables = (known.services, known.slices, known.namespaces, known.corefiles, known.attachments)
        leave = [table.on_change(self._pace.poke) for table in tables]
        try:
            for table in tables:
                await table.wait_in_sync()
            while True:
                await self._turn(await self._pace.turn())
        finally:
            for each in leave:
                each()

    async def _turn(self, turn: Turn) -> None:
        self._compile()
        for link in self._came:
            self._plane.link_changed(link)
        self._came.clear()
        now = self._clock.monotonic()
        read_back = turn is Turn.RETRY or now - self._read_at >= DRIFT
        if read_back:
            self._read_at = now
        sure = self._names is not None and all(now - since < PATIENCE for since in self._unheard.values())
        self._busy = True
        try:
            refusals = await asyncio.to_thread(self._apply, read_back, sure)
        except KernelError as refusal:
            self._pace.failed()
            self._sure.set(0)
            self._say(f"names are answered by the servers alone for now: {refusal}")
        else:
            if refusals:
                self._pace.failed()
            self._sure.set(sure)
            doubt = "" if sure or self._names is None else "the API server is not heard: what is known may be old"
            self._say("; ".join([*filter(None, (doubt,)), *map(str, refusals)]))
        finally:
            self._busy = False

    def _apply(self, read_back: bool, sure: bool) -> list[KernelError]:  # noqa: FBT001 - called by to_thread
        if read_back:
            self._plane.read()
        until = time.monotonic_ns() + int(LEASE * 1e9) if sure else 0  # the kernel's clock, not a test's
        return self._plane.sync(until, self._serial)

    def _compile(self) -> None:
        self._compile_zone()
        if self._names is not None:
            changes = self._names.feed()
            for key, entry in changes.items():
                self._plane.want_name(key, entry)
            if changes:
                self._serial = int(self._clock.now().timestamp())
            self._names_held.set(len(self._names.entries))
        of = self._settings.service
        slices = [part for each in sorted(self._slices_of.get(of)) if (part := self._tables.slices.get(each))]
        servers = name_servers(self._tables.services.get(of), slices)
        self._plane.want_servers(map(render.server, servers))
        self._plane.want_links(host_name(*each) for each, _ in self._tables.attachments.items())

    def _compile_zone(self) -> None:
        """The zone that the Corefile leaves to the kubernetes plugin, where it became another."""
        key = self._settings.corefile
        corefile = self._tables.corefiles.get(key) or Corefile(*key, "")
        if corefile == self._corefile:
            return
        self._corefile = corefile
        zone, off = _zone(corefile)
        if off and off != self._off:
            logger.warning("DNS fast path: names are answered by the servers alone: %s", off)
        self._off = off
        if zone is not None and self._names is not None and zone == self._names.zone:
            return
        entry = render.zone(zone) if zone is not None else None
        self._names = None
        if zone is not None and entry is not None:
            self._names = FastNames(zone, self._tables.services, self._tables.namespaces, self._within)
            logger.info("DNS fast path: %s is answered at pods' links", zone.domain)
        self._plane.want_zone(entry)

    def _say(self, trouble: str) -> None:
        """Each once, not at every try."""
        if trouble and trouble != self._said:
            logger.warning("DNS fast path: %s", trouble)
        self._said = trouble

    def _count(self) -> None:
        if self._busy:
            return  # the last turn's numbers: they are a moment old
        for outcome, count in self._plane.counts().items():
            self._queries.values["answered" if outcome.answered else "passed", WORDS[outcome]] = count


def _zone(corefile: Corefile) -> tuple[KnownZone | None, str]:
    """The zone, or why there is none."""
    origin = f"ConfigMap {corefile.namespace}/{corefile.name}"
    if not corefile.text:
        return None, f"{origin} has no Corefile"
    try:
        found = plain(corefile.text)
    except NotPlainError as why:
        return None, f"{origin}: {why.message}"
    zone = KnownZone(found.domain, found.ttl, origin)
    return (zone, "") if render.zone(zone) else (None, f"{origin}: the name {found.domain} is too long")
