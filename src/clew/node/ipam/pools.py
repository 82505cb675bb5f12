"""Addresses from IPPools: blocks of them are carved for a node when its pods need addresses (`ipam: {type: pools}`).

The pools, blocks and who has what are objects of the API server; this part reads them by tables, claims through
node/ipam/claims.py, and keeps them as the node's promises say.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from clew.base.addresses import family_of
from clew.base.clock import Clock
from clew.base.errors import Problem, WorldError
from clew.compile import blocks, ipam_rules, pools
from clew.compile.ipam import ExhaustedError, UnsuitableError
from clew.compile.ipam_rules import Rules
from clew.facts.attachment import Attachment
from clew.facts.ipamblock import Block
from clew.facts.ipamconfiguration import IpamConfiguration
from clew.facts.ippool import IPPool
from clew.facts.ipreservation import Reservation
from clew.facts.node import Node
from clew.facts.pod_asks import POOLS
from clew.node.ipam.claims import BlockClaims, TakenAddressError, Want
from clew.node.ipam.port import Held, Layout
from clew.node.ipam.wish import Wish
from clew.node.service_ranges import ServiceRanges
from clew.reconcile import Pace
from clew.store.table import Key, StaleRevisionError, Table

logger = logging.getLogger(__name__)

Tell = Callable[[Problem], Awaitable[None]]

SPACE, DRIFT, RETRY = 0.2, 30.0, 1.0  # seconds between two looks at the ledger: least, most, after a failure


class PoolTables(NamedTuple):
    pools: Table[IPPool]
    blocks: Table[Block]
    nodes: Table[Node]
    reservations: Table[Reservation]
    configurations: Table[IpamConfiguration]

    @property
    def in_sync(self) -> bool:
        return all(table.in_sync for table in self)


class CurrentRules:
    """What holds for all pools, as the tables have it now; they are read anew when they have changed."""

    def __init__(self, node: str, tables: PoolTables) -> None:
        self._node = node
        self._tables = tables
        self._at = (-1, -1, -1)
        self._rules = Rules()
        self._problems: tuple[Problem, ...] = ()

    def __call__(self) -> Rules:
        tables = self._tables
        now = tables.reservations.revision, tables.configurations.revision, tables.nodes.revision
        if now != self._at:
            configurations = (each for _, each in tables.configurations.items())
            reservations = (each for _, each in tables.reservations.items())
            barred = ipam_rules.others(self._node, (each for _, each in tables.nodes.items()))
            self._at, (self._rules, self._problems) = now, ipam_rules.rules(configurations, reservations, barred)
        return self._rules

    @property
    def problems(self) -> tuple[Problem, ...]:
        self()
        return self._problems


class GoodPools:
    """The pools that can be used, and what is wrong with the others, as the tables have them now."""

    def __init__(self, tables: PoolTables, ranges: ServiceRanges | None = None, services: Sequence[str] = ()) -> None:
        self._tables = tables
        self._ranges = ranges if ranges is not None else ServiceRanges()
        self._services = services  # as they are configured
        self._seen: tuple[tuple[IPPool, ...], tuple[str, ...]] = (), ()
        self._at = (-1, -1)
        self._found: tuple[dict[str, IPPool], tuple[Problem, ...]] = {}, ()
        self.revision = 0  # of what is found: figures that agents write are no change of a pool

    def __call__(self) -> tuple[dict[str, IPPool], tuple[Problem, ...]]:
        now = self._tables.pools.revision, self._ranges.table.revision
        if now != self._at:
            self._at = now
            known = (pool for _, pool in self._tables.pools.items())
            services = tuple(self._ranges.of(self._services))
            seen = tuple(replace(pool, figures=None, valid=None, said="") for pool in known), services
            if seen != self._seen:
                self._seen, self._found = seen, pools.sound(*seen)
                self.revision += 1
        return self._found

    def on_change(self, listener: Callable[[], None]) -> list[Callable[[], None]]:
        """Call `listener` when another answer may follow; returns the functions that end it."""
        return [self._tables.pools.on_change(listener), self._ranges.table.on_change(listener)]


class PoolIpam:
    """One node's. `run` keeps the ledger true; it is not needed for `layout`."""

    def __init__(self, node: str, tables: PoolTables, good: GoodPools, claims: BlockClaims, clock: Clock) -> None:
        self._node = node
        self._tables = tables
        self._good = good
        self._rules = CurrentRules(node, tables)
        self._claims = claims
        self._shares: dict[Key, tuple[tuple[str, str], ...]] = {}  # of each block: who must get which range
        self._shares_at = 0
        self._revision = 0
        self._pace = Pace(clock, least=SPACE, most=DRIFT, retry=RETRY)
        self._said: frozenset[Problem] = frozenset()
        self.problems: tuple[Problem, ...] = ()
        self.entered = asyncio.Event()  # what the node had when its agent started is in the ledger

    @property
    def in_sync(self) -> bool:
        return self._tables.in_sync

    @property
    def revision(self) -> int:
        """Of the pools, and of whose ranges are where: an address more or less in a node's own block is no change."""
        self._follow()
        self._good()
        tables = self._tables
        return self._revision + self._good.revision + tables.reservations.revision + tables.configurations.revision

    @property
    def lacking(self) -> str:
        """An API server that was never told of a kind answers as one that is away: which it is, is half the remedy."""
        awaited = ", ".join(table.name for table in self._tables if not table.in_sync)
        if awaited:
            return f"not arrived from the API server: {awaited}"
        wrong = "; ".join(map(str, self.problems))
        return f"no IPPool gives it addresses{': ' + wrong if wrong else ''}"

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        ends = [*(table.on_change(listener) for table in self._tables), *self._good.on_change(listener)]

        def end() -> None:
            for each in ends:
                each()

        return end

    def layout(self, nodes: Iterable[Node], own: Node | None, held: Iterable[Attachment]) -> Layout:  # noqa: ARG002 - `run` looks after them
        self._follow()
        good, wrong = self._good()
        self.problems = (*wrong, *self._rules.problems)
        have: dict[str, list[str]] = {}
        for _, shares in sorted(self._shares.items()):
            for node, cidr in shares:
                have.setdefault(node, []).append(cidr)
        mine = blocks.as_pools(have.get(self._node, ()))
        usable = pools.usable(good.values()) if own is not None else ()
        return Layout(
            tuple(blocks.with_ranges(nodes, have)),
            mine,
            frozenset(pool.family for pool in usable) | {each.network.version for each in mine},
            tuple(pool.cidr for pool in good.values() if pool.nat_outgoing),
            tuple(pool.cidr for pool in good.values()),
            self.problems,
        )

    async def choose(self, wish: Wish, held: Held) -> tuple[str, ...]:
        """One of each family that a pool gives: the pod's own choice of pools and addresses first."""
        if wish.linking != "routed":  # the configuration has changed since, and what follows it so far is the links
            raise UnsuitableError("network.links is bridge, and this agent started with ipam.type pools: restart it")
        wants = self._wants(wish)
        if not self.entered.is_set():
            await self._enter(held)
        try:
            if any(want.exact for want in wants):  # its last holder may just have gone
                await self._claims.give_back(held.promised)
            found = [await self._claim(want, held) for want in wants]
        except TakenAddressError as taken:
            raise UnsuitableError(f"{wish.ips_field}: {taken}") from taken
        finally:
            self._pace.poke()  # half of what was wanted is given back, where the other half was not to be had
        return tuple(f"{address}/{128 if ':' in address else 32}" for address in found)

    async def _claim(self, want: Want, held: Held) -> str:
        try:
            return await self._claims.claim(want)
        except ExhaustedError:  # unless somebody has just gone
            await self._claims.give_back(held.promised)
            return await self._claims.claim(want)

    def freed(self) -> None:
        self._pace.poke()

    async def run(self, held: Held, tell: Tell) -> None:
        """For ever: what this node has no more, goes back; what it has, is written. What cannot be is told, once."""
        end = self.on_change(self._pace.poke)
        try:
            while True:
                await self._pace.turn()
                if self.in_sync:
                    await self._settle(held, tell)
        finally:
            end()

    async def _settle(self, held: Held, tell: Tell) -> None:
        try:
            problems = await self._enter(held)
        except WorldError as trouble:
            self._pace.failed()
            problems = [Problem(f"Node {self._node}", "addresses", f"cannot write IPAMBlocks: {trouble}")]
        for problem in problems:
            if problem not in self._said:
                logger.warning("addresses: %s", problem)
                await tell(problem)
        self._said = frozenset(problems)

    async def _enter(self, held: Held) -> list[Problem]:
        good, _ = self._good()
        problems = await self._claims.settle(held.promised, good.values())
        self.entered.set()
        return problems

    def _wants(self, wish: Wish) -> list[Want]:
        own = self._tables.nodes.get(("", self._node))
        good, _ = self._good()
        usable = pools.usable(good.values())
        chosen = pools.chosen(usable, wish.pools, dict(own.labels) if own is not None else {}, wish.namespace)
        exact: dict[int, str] = {family_of(ip): ip for ip in wish.ips}
        handle, pod = f"{wish.container}/{wish.ifname}", str(wish.pod)
        wish.refuse_beyond({*chosen, *exact})
        wants = []
        for family in sorted({*chosen, *exact}):
            ip = exact.get(family, "")
            among = pools.with_address(good, chosen.get(family, ()), ip, wish.ips_field)
            part = wish.ranges.get(family)
            wants.append(Want(handle, pod, among if part is None else pools.within_part(among, part), ip, part))
        if not wants:
            where = f"node {self._node}" + (f" and namespace {wish.pod.namespace}" if wish.pod.namespace else "")
            raise UnsuitableError(f"no IPPool's selectors fit {where}: {POOLS[4]} or {POOLS[6]} names one all the same")
        return wants

    def _follow(self) -> None:
        table = self._tables.blocks
        try:
            changed, self._shares_at = table.changes_since(self._shares_at)
        except StaleRevisionError:
            self._shares_at = table.revision
            changed = {key for key, _ in table.items()} | self._shares.keys()
        for key in changed:
            block = table.get(key)
            shares = blocks.shares(block) if block is not None else ()
            if shares != self._shares.get(key, ()):
                self._revision += 1
            self._shares.pop(key, None)
            if shares:
                self._shares[key] = shares
