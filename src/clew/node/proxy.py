"""The service proxy of one node at work: Services and EndpointSlices in, kernel rules as they say.

One task runs the flow. Facts come from tables that reflectors fill; what changed is compiled per service; each family's
backend (of the chosen mode, node/proxy_modes) gets what became different and applies it. Nothing is swept before all
tables had their first list. A sync with little to do runs on the loop (0.2 ms at any number of services); a large one,
and every look at drift, in a thread.

Wrong objects become Problems (`on_problem`), a refusing kernel is tried again, foreign rules are never touched. Made
and run by app/agent.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clew.base.addresses import Family
from clew.base.clock import Clock
from clew.base.errors import Problem, WorldError
from clew.base.metrics import Measure, Registry
from clew.compile.services import Changed, Key, ServiceCompiler, ServiceNode
from clew.dataplane.conntrack.apply import forget_stale
from clew.dataplane.conntrack.stale import udp_truth
from clew.facts.endpointslice import EndpointSlice
from clew.facts.node import Node
from clew.facts.service import Service
from clew.ir.balancing import Balancer, Balancing, HealthCheck
from clew.ir.proxying import Settings
from clew.kernel.conntrack import Conntrack
from clew.node.health import FamilyHealth
from clew.node.proxy_backend import Backend, Changes
from clew.node.proxy_metrics import ProxyMetrics
from clew.node.proxy_settings import LEAST, PERIOD, ProxySettings
from clew.node.service_ranges import ServiceRanges, unwatched
from clew.reconcile import Pace, Turn
from clew.store import StaleRevisionError, Table
from clew.watch.collector import collector_off

__all__ = ["LEAST", "PERIOD", "ProxyPorts", "ProxySettings", "ProxyTables", "ServiceProxy"]

logger = logging.getLogger(__name__)

RETRY = 1.0
MANY = 100  # services in one sync that are worth a thread


def _log(problem: Problem) -> None:
    logger.warning("%s", problem)


@dataclass(frozen=True)
class ProxyTables:
    """Where facts come from; filled by reflectors, before or after the proxy runs. `nodes` has this node's own, too."""

    services: Table[Service]
    slices: Table[EndpointSlice]
    nodes: Table[Node]
    ranges: ServiceRanges = field(default_factory=unwatched)


@dataclass(frozen=True)
class ProxyPorts:
    """The kernel, as far as the proxy changes it.

    `open`: backends of the mode, one a family; `leave_others`: takes away what other modes left, once ours is in;
    `health`: told what load balancers are to hear of a service, None: nothing.
    """

    open: Callable[[Sequence[Settings]], Sequence[Backend]]
    conntrack: Conntrack
    leave_others: Callable[[], None] = lambda: None
    health: Callable[[Key, HealthCheck | None], None] = lambda _key, _check: None


class ServiceProxy:
    def __init__(
        self,
        tables: ProxyTables,
        settings: ProxySettings,
        ports: ProxyPorts,
        clock: Clock,
        registry: Registry | None = None,
        on_problem: Callable[[Problem], None] = _log,
    ) -> None:
        self._services, self._slices, self._nodes = tables.services, tables.slices, tables.nodes
        self._ranges = tables.ranges
        self._settings, self._conntrack = settings, ports.conntrack
        self._clock = clock
        self._on_problem = on_problem
        self._metrics = ProxyMetrics(registry or Registry(), self._measures)

        self._pace = Pace(clock, least=settings.least, most=settings.period, retry=RETRY)
        self._compiler = ServiceCompiler(self._node())
        self._backends = ports.open([self._settings_of(family) for family in settings.families])
        self._settled: tuple[Node | None, int] | None = None  # what the backends' settings were made of
        self._leave_others, self._health = ports.leave_others, ports.health
        self._slices_of = self._slices.index(_service_of)
        self._owners: dict[Key, Key] = {}  # slice -> service, as of the last sync
        self._seen = {id(self._services): 0, id(self._slices): 0}
        self._problems: dict[Key, tuple[Problem, ...]] = {}
        self._left: dict[Key, tuple[Balancer, ...]] = {}  # changed services, as at the last look at their flows
        self._no_local: Counter[tuple[str, str]] = Counter()  # services by family and kind of policy
        self._synced: dict[Family, datetime] = {}
        self._waiting_since: float | None = None
        self.in_sync = asyncio.Event()  # set once the kernel is as the first complete lists say

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with services at present."""
        return tuple(problem for problems in self._problems.values() for problem in problems)

    def settings(self, family: int) -> Settings:
        """What the rules of a family depend on at present."""
        return self._settings_of(6 if family == 6 else 4)

    @property
    def balancings(self) -> Mapping[Key, Balancing]:
        return self._compiler.balancings

    def families(self) -> Mapping[str, FamilyHealth]:
        """For /healthz: healthy while no change has waited for twice the period."""
        waiting = 0.0 if self._waiting_since is None else self._clock.monotonic() - self._waiting_since
        return {
            f"IPv{family}": FamilyHealth(
                self._synced.get(family, datetime.fromtimestamp(0, UTC)), waiting < 2 * self._settings.period
            )
            for family in self._settings.families
        }

    async def run(self) -> None:
        """Until cancelled; the rules stay behind."""
        tables = (self._services, self._slices, self._nodes, self._ranges.table)
        leave = [table.on_change(self._changed) for table in tables]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.serve())
                group.create_task(self._follow())
        finally:
            for each in leave:
                each()

    async def serve(self) -> None:
        """What the mode needs beside its rules, until cancelled; returns where it needs nothing."""
        async with asyncio.TaskGroup() as group:
            for backend in self._backends:
                group.create_task(backend.serve())

    async def _follow(self) -> None:
        for table in (self._services, self._slices, self._nodes):
            await table.wait_in_sync()
        await self._ranges.wait()
        await asyncio.to_thread(self.prepare)
        while True:
            turn = await self._pace.turn()
            try:
                await self.sync(turn)
            except WorldError as refused:
                logger.warning("service rules: %s; trying again in %g s", refused, RETRY)
                self._pace.failed()

    def prepare(self) -> None:
        """What needs rights beyond the rules themselves (kube-proxy's --init-only)."""
        for backend in self._backends:
            backend.prepare()

    def remove(self) -> None:
        """Take all rules of this mode out of the kernel (kube-proxy's --cleanup)."""
        for backend in self._backends:
            backend.remove()

    def close(self) -> None:
        """Give descriptors back; the rules stay."""
        for backend in self._backends:
            backend.close()

    async def sync(self, turn: Turn = Turn.CHANGE) -> None:
        """One turn: what changed, or with any other reason than a change, also what others changed."""
        asked = self._clock.monotonic() if self._waiting_since is None else self._waiting_since
        with collector_off():
            changed_slices, changed = self._compile()
        changes = {key: change.after.balancers for key, change in changed.items()}
        for key, change in changed.items():
            self._left.setdefault(key, change.before.balancers)
        large = turn is not Turn.CHANGE or len(changes) > MANY or not self.in_sync.is_set()
        for backend in self._backends:
            began = self._clock.monotonic()
            try:
                if large:
                    await asyncio.to_thread(_apply_and_verify, backend, changes)
                elif backend.quick:
                    backend.sync(changes)
                else:
                    await asyncio.to_thread(backend.sync, changes)
            except WorldError:
                self._waiting_since = asked
                self._keep(changes, backend)
                raise
            self._note_sync(backend.settings.family, began, changed_slices, full=large)
        await self._forget_stale()
        if not self.in_sync.is_set():
            await asyncio.to_thread(self._leave_others)
            logger.info("service rules: those of %d services are in, other modes' are gone", len(self._services))
        self._waiting_since = None
        self.in_sync.set()

    def _changed(self) -> None:
        if self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()
        for family in self._settings.families:
            self._metrics.queued.set(self._clock.now().timestamp(), f"IPv{family}")
        self._pace.poke()

    def _node(self) -> ServiceNode:
        node = self._nodes.get(("", self._settings.node))
        if node is None:
            return ServiceNode(self._settings.node)
        return ServiceNode(node.name, node.zone, node.internal_ips + node.external_ips)

    def _settings_of(self, family: Family) -> Settings:
        ranges = self._ranges.of(self._settings.service_cidrs)
        node = self._nodes.get(("", self._settings.node))
        if node is None:
            return self._settings.of(family, service_cidrs=ranges)
        return self._settings.of(family, node.internal_ips + node.external_ips, node.pod_cidrs, ranges)

    def _compile(self) -> tuple[list[EndpointSlice], dict[Key, Changed]]:
        """The slices and the load balancing that differ from last time."""
        services = self._changes(self._services)
        slices = self._changes(self._slices)
        keys = set(services)
        for key in slices:
            keys.update(owner for owner in (self._owners.pop(key, None), self._owner(key)) if owner)
        node = self._node()
        if node != self._compiler.node:
            keys.update(self._services_known())
            self._compiler.move(node)
        self._settle()
        changed = self._compiler.update(keys, self._services.get, self._of)
        self._metrics.services_total.add(by=len(services))
        self._metrics.endpoints_total.add(by=len(slices))
        for key, change in changed.items():
            self._tell(key, change.after.problems)
            if change.after.health != change.before.health:
                self._health(key, change.after.health)
            self._no_local.subtract(_without_local(change.before.balancers))
            self._no_local.update(_without_local(change.after.balancers))
        return [fact for key in slices if (fact := self._slices.get(key))], changed

    def _settle(self) -> None:
        """What the rules depend on beside services, where the Node or the ranges have changed."""
        about = self._nodes.get(("", self._settings.node)), self._ranges.table.revision
        if about == self._settled:
            return
        self._settled = about
        for backend in self._backends:
            settings = self._settings_of(backend.settings.family)
            if settings != backend.settings:
                backend.settle(settings)

    def _changes(self, table: Table[Service] | Table[EndpointSlice]) -> set[Key]:
        try:
            changed, self._seen[id(table)] = table.changes_since(self._seen[id(table)])
        except StaleRevisionError:
            changed = {key for key, _ in table.items()} | self._services_known()
            self._seen[id(table)] = table.revision
        return changed

    def _services_known(self) -> set[Key]:
        return {key for key, _ in self._services.items()} | set(self._compiler.balancings)

    def _owner(self, key: Key) -> Key | None:
        """The service of a slice, remembered until the slice changes."""
        fact = self._slices.get(key)
        if fact is None:
            return None
        self._owners[key] = fact.service_key
        return fact.service_key

    def _of(self, service: Key) -> Iterable[EndpointSlice]:
        return [fact for key in self._slices_of.get(service) if (fact := self._slices.get(key))]

    def _tell(self, key: Key, problems: Sequence[Problem]) -> None:
        for problem in problems:
            if problem not in self._problems.get(key, ()):
                self._on_problem(problem)
        if problems:
            self._problems[key] = tuple(problems)
        else:
            self._problems.pop(key, None)

    def _measures(self) -> Iterable[Measure]:
        for what, table in (("endpoint", self._slices), ("service", self._services)):
            name = f"kubeproxy_sync_proxy_rules_{what}_changes_pending"
            yield Measure(name, f"Changes of {what}s that no sync has seen yet", self._pending(table))
        for backend in self._backends:
            yield from backend.measures()

    def _pending(self, table: Table[Service] | Table[EndpointSlice]) -> int:
        try:
            return len(table.changes_since(self._seen[id(table)])[0])
        except StaleRevisionError:
            return len(table)

    def _keep(self, changes: Changes, failed: Backend) -> None:
        """The backends after the one that failed have not seen the changes yet."""
        for backend in self._backends[self._backends.index(failed) + 1 :]:
            backend.expect(changes)

    async def _forget_stale(self) -> None:
        """UDP flows to backends that have gone; after all rules are in."""
        before = [balancer for balancers in self._left.values() for balancer in balancers]
        known = self._compiler.balancings
        after = [balancer for key in self._left if key in known for balancer in known[key].balancers]
        truth = udp_truth(before, after)
        if truth:
            for family in self._settings.families:
                began = self._clock.monotonic()
                gone = await asyncio.to_thread(
                    forget_stale, self._conntrack, family, truth, self._compiler.node.addresses
                )
                self._metrics.conntrack.observe(self._clock.monotonic() - began, f"IPv{family}")
                self._metrics.conntrack_deleted.add(f"IPv{family}", by=gone)
        self._left.clear()

    def _note_sync(self, family: Family, began: float, slices: Iterable[EndpointSlice], *, full: bool) -> None:
        metrics, label, now = self._metrics, f"IPv{family}", self._clock.now()
        took = self._clock.monotonic() - began
        metrics.duration.observe(took, label)
        (metrics.full if full else metrics.partial).observe(took, label)
        metrics.last.set(now.timestamp(), label)
        for scope in ("internal", "external"):
            metrics.no_local.set(self._no_local[label, scope], label, scope)
        self._synced[family] = now
        logger.debug("%s: rules in sync after %.1f ms%s", label, took * 1e3, ", all of them" if full else "")
        if not self.in_sync.is_set():
            return  # what changed before this agent began says nothing about its speed
        for piece in slices:
            if piece.changed and piece.address_type == label:
                since = now - datetime.fromisoformat(piece.changed)
                metrics.programming.observe(max(since.total_seconds(), 0.0), label)


def _without_local(balancers: Iterable[Balancer]) -> set[tuple[str, str]]:
    """Families and kinds of a service's Local policies for which there are backends, and none here."""
    return {
        (f"IPv{balancer.family}", frontend.scope)
        for balancer in balancers
        if balancer.any_backend and not balancer.local
        for frontend in balancer.frontends
        if frontend.policy == "Local"
    }


def _service_of(piece: EndpointSlice) -> tuple[Key, ...]:
    return (piece.service_key,)


def _apply_and_verify(backend: Backend, changes: Changes) -> None:
    """Runs in a thread."""
    with collector_off():
        backend.tidy()
        backend.verify()
        backend.sync(changes)
