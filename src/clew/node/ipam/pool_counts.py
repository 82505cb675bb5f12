"""What of each IPPool is used, written where its owner looks: `kubectl get ippools`. Nothing here reads it again.

Every agent counts the same blocks. They speak in turn as verdicts.py does, and whoever sees that another has spoken
begins its wait anew: so a pool's status is written every EVERY seconds at most, by one node, whatever happens to it.
Made and run by app/agent_pools.py.
"""

import asyncio
import contextlib
import logging

from clew.api.kinds import IP_POOL
from clew.base.clock import Clock
from clew.compile import blocks, pools
from clew.facts.ipamblock import Block
from clew.facts.ippool import Figures, IPPool
from clew.node.ipam.pools import GoodPools, PoolTables
from clew.node.ipam.verdicts import RETRY, Server, turn
from clew.store.table import Key, StaleRevisionError
from clew.watch.errors import ApiError

logger = logging.getLogger(__name__)

EVERY = 5.0  # seconds


class Sums:
    """Blocks and addresses of each pool by its name, kept as blocks change: a change costs the same in any cluster."""

    def __init__(self, tables: PoolTables, good: GoodPools) -> None:
        self._tables = tables
        self._good = good
        self._pools: tuple[tuple[str, str], ...] = ()  # name and range, in the order in which a block looks for its own
        self._parts: dict[Key, tuple[str, int, int]] = {}  # of each block: its pool, addresses in use and borrowed
        self._at = 0
        self._sums: dict[str, tuple[int, int, int]] = {}

    def __call__(self) -> dict[str, Figures]:
        """Of each pool that has a range."""
        good, _ = self._good()
        known = [pool for _, pool in self._tables.pools.items() if pool.name in good or not pools.wrong_with(pool)]
        known.sort(key=lambda pool: (pool.name not in good, pool.name))  # one that overlaps has what is left
        self._follow(known)
        return {
            pool.name: Figures(pool.block_size, pools.capacity(pool), *self._sums.get(pool.name, (0, 0, 0)))
            for pool in known
        }

    def _follow(self, known: list[IPPool]) -> None:
        table = self._tables.blocks
        ranges = tuple((pool.name, pool.cidr) for pool in known)
        try:
            changed, self._at = table.changes_since(self._at)
        except StaleRevisionError:
            self._pools, self._at = (), table.revision
        if ranges != self._pools:
            self._pools, changed = ranges, {key for key, _ in table.items()}
            self._parts, self._sums = {}, {}
        for key in changed:
            self._add(self._parts.pop(key, None), -1)
            block = table.get(key)
            if block is not None and (name := _pool_of(block, known)):
                self._parts[key] = name, *blocks.in_use(block)
                self._add(self._parts[key], 1)

    def _add(self, part: tuple[str, int, int] | None, sign: int) -> None:
        if part is not None:
            name, used, borrowed = part
            before = self._sums.get(name, (0, 0, 0))
            self._sums[name] = before[0] + sign, before[1] + sign * used, before[2] + sign * borrowed


def _pool_of(block: Block, known: list[IPPool]) -> str:
    return next((pool.name for pool in known if pools.within(pool, block.cidr)), "")


class PoolCounts:
    def __init__(self, node: str, tables: PoolTables, good: GoodPools, clock: Clock) -> None:
        self._node = node
        self._tables = tables
        self._sums = Sums(tables, good)
        self._clock = clock
        self._spoke_of: set[str] = set()  # uids of pools that this agent has said something of
        self._in_vain: set[str] = set()  # of those whose server dropped it, by a definition from before there were any

    async def run(self, client: Server) -> None:
        """For ever."""
        changed = asyncio.Event()
        for table in self._tables:
            table.on_change(changed.set)
            await table.wait_in_sync()
        while True:
            changed.clear()
            unsaid = self._unsaid()
            if not unsaid:
                await changed.wait()
                continue
            new = any(pool.figures is None and pool.uid not in self._spoke_of for pool, _ in unsaid)
            before = self._said()
            await self._clock.sleep(turn(self._node, self._tables.nodes) + (0.0 if new else EVERY))
            if self._said() != before:
                continue
            try:
                for pool, figures in self._unsaid():
                    await self._say(client, pool, figures)
            except ApiError as trouble:
                logger.warning("cannot write the figures of an IPPool: %s", trouble)
            with contextlib.suppress(TimeoutError):  # our own word comes back by the watch
                async with asyncio.timeout(RETRY):
                    await changed.wait()

    def _unsaid(self) -> list[tuple[IPPool, Figures]]:
        counted = self._sums()
        pools_now = (pool for _, pool in self._tables.pools.items() if pool.uid not in self._in_vain)
        known = [pool for pool in pools_now if pool.name in counted]
        return [(pool, counted[pool.name]) for pool in known if pool.figures != counted[pool.name]]

    def _said(self) -> dict[Key, Figures | None]:
        return {key: pool.figures for key, pool in self._tables.pools.items()}

    async def _say(self, client: Server, pool: IPPool, figures: Figures) -> None:
        status = {
            "blockSize": figures.block_size, "capacity": figures.capacity, "blocks": figures.blocks,
            "allocated": figures.allocated, "borrowed": figures.borrowed,
        }  # fmt: skip
        self._spoke_of.add(pool.uid)
        stored = await client.patch(IP_POOL, pool.name, {"status": status}, subresource="status")
        if "capacity" not in stored.get("status", {}):
            self._in_vain.add(pool.uid)
            logger.warning("%s: its definition knows no figures: apply the manifests anew", pool.origin)
