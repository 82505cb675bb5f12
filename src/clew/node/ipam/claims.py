"""Addresses from blocks: claimed before anybody hears of them, given back when nobody holds them any more.

One agent works on one block version at a time; that two agents never own one address rests on the ledger alone, which
takes a version only in place of the one before. What is remembered here of blocks is a guess that saves questions: a
wrong guess costs a conflict and another try, never an address twice. An answer that was lost is asked for again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from clew.base.clock import Clock, rfc3339
from clew.base.errors import Problem, WorldError
from clew.base.value import Value
from clew.compile import blocks, pools
from clew.compile.ipam import ExhaustedError
from clew.facts.ipamblock import Block, Holder, name_of
from clew.facts.ippool import IPPool
from clew.node.ipam.ledger import Ledger
from clew.node.ipam.port import Promised
from clew.node.ipam.view import BlockView

logger = logging.getLogger(__name__)

TRIES = 50  # times that one block may change under us before we say that we are busy
EMPTY_SECONDS = 60.0  # how long a block of ours stays without a pod: addresses are not given out anew at once

Change = Callable[[Block], Block]


class BusyError(WorldError):
    """Others changed the block each time; trying again may help."""


class Want(Value):
    """An address of one family for one attachment: from `pools`, in their order, or exactly `exact`."""

    handle: str
    pod: str  # "default/web"; may be empty
    pools: tuple[IPPool, ...]
    exact: str = ""


class TakenAddressError(Exception):
    """Somebody has the address that was asked for; the text says who."""


class BlockClaims:
    """`node` is this agent's; `view` is kept by whoever watches the blocks."""

    def __init__(self, node: str, ledger: Ledger, view: BlockView, clock: Clock, keep: float = EMPTY_SECONDS) -> None:
        self._node = node
        self._ledger = ledger
        self._view = view
        self._clock = clock
        self._keep = keep
        self._alone = asyncio.Lock()
        self._empty_since: dict[str, float] = {}

    async def claim(self, want: Want) -> str:
        """A bare address, this handle's from now on. ExhaustedError, TakenAddressError, BusyError, ApiError.

        Our own blocks come first, then a new one, then what belonged to nodes that are gone, then others' blocks.
        """
        async with self._alone:
            return await (self._exactly(want) if want.exact else self._any(want))

    async def _any(self, want: Want) -> str:
        found = ""
        for pool in want.pools:
            found = found or await self._from_blocks(want, pool, mine=True)
        for pool in want.pools:
            found = found or await self._carve(want, pool)
        if not found and await self._inherit(want.pools):
            for pool in want.pools:
                found = found or await self._from_blocks(want, pool, mine=True)
        for pool in want.pools:
            found = found or await self._from_blocks(want, pool, mine=False)
        if not found:
            names = ", ".join(f"{pool.name} ({pool.cidr})" for pool in want.pools)
            raise ExhaustedError(
                f"no free address in IPPool {names}", "every block is full, and there is no room for another one"
            )
        return found

    async def _from_blocks(self, want: Want, pool: IPPool, *, mine: bool) -> str:
        for block in self._view.blocks():
            fits = (block.node == self._node) == mine and block.free and pools.within(pool, block.cidr)
            if fits and (found := await self._give(block.name, want, mine=mine)):
                return found
        return ""

    async def _give(self, name: str, want: Want, *, mine: bool | None = None, place: int | None = None) -> str:
        """An address of one block; empty where it has none for us."""
        block = self._view.get(name)
        for _ in range(TRIES):
            if block is None or (mine is not None and (block.node == self._node) != mine):
                return ""
            had = blocks.of_handle(block, want.handle)
            if had:
                return had
            given = blocks.give(block, self._holder(want), place)
            if given is None:
                return ""
            if await self._write(given[0]):
                return given[1]
            block = await self._fetch(name)
        raise BusyError(f"block {name} changes all the time")

    async def _carve(self, want: Want, pool: IPPool) -> str:
        """The first address of a new block; empty where the pool has no room for one."""
        for _ in range(TRIES):
            cidr = next(iter(pools.free_cidrs(pool, self._view.blocks(), self._node)), "")
            if not cidr:
                return ""
            block, address = blocks.opened(cidr, self._node, self._holder(want))
            if await self._create(block):
                return address
            if found := await self._give(name_of(cidr), want, mine=True):  # ours after all: an answer that was lost
                return found
        raise BusyError(f"other nodes carve blocks of IPPool {pool.name} all the time")

    async def _create(self, block: Block) -> bool:
        """Whether it is there and alone: after a pool's block size was changed, blocks of both sizes could meet."""
        stored = await self._ledger.create(block)
        self._view.refresh(await self._ledger.every())
        if stored is None:
            return False
        if any(other.name != stored.name and other.network.overlaps(stored.network) for other in self._of(stored)):
            logger.warning("block %s overlaps with another one: it goes", stored.cidr)
            await self._delete(stored)
            return False
        return True

    def _of(self, block: Block) -> Iterable[Block]:
        return [other for other in self._view.blocks() if other.network.version == block.network.version]

    async def _exactly(self, want: Want) -> str:
        for _ in range(TRIES):
            block = self._view.holding(want.exact)
            if block is None:
                pool = next(pool for pool in want.pools if pools.within(pool, want.exact))
                cidr = pools.around(pool, want.exact)
                place = Block(cidr, self._node).place(want.exact)
                made, address = blocks.opened(cidr, self._node, self._holder(want), place)
                if await self._create(made):
                    return address
                continue
            holder = dict(block.held).get(block.place(want.exact))
            if holder is not None and holder.handle != want.handle:  # perhaps no more
                block = await self._fetch(block.name) or block
                holder = dict(block.held).get(block.place(want.exact))
            if holder is not None and holder.handle != want.handle:
                whose = f"pod {holder.pod}" if holder.pod else f"container {holder.handle}"
                raise TakenAddressError(f"{want.exact} is in use by {whose} on node {holder.node}")
            if await self._give(block.name, want, place=block.place(want.exact)) == want.exact:
                return want.exact
        raise BusyError(f"the block of {want.exact} changes all the time")

    async def _inherit(self, wanted: Iterable[IPPool]) -> bool:
        """Take over what nodes that are no more have in these pools; whether there was anything."""
        wanted = tuple(wanted)
        here = [block for block in self._view.blocks() if any(pools.within(pool, block.cidr) for pool in wanted)]
        named = {each for block in here for each in (block.node, *(holder.node for _, holder in block.held))}
        gone = {name for name in named - {self._node} if not name or not await self._ledger.has_node(name)}

        def inherit(block: Block) -> Block:
            return blocks.inherited(block, gone, self._node)

        found = False
        for block in here:
            if inherit(block) != block:
                logger.info("block %s: what node %s had is free", block.cidr, block.node)
                await self._edit(block.name, inherit)
                found = True
        return found

    async def give_back(self, now: Callable[[], Promised]) -> None:
        """Only what nobody here holds; `now` is asked when no claim is under way."""
        async with self._alone:
            await self._give_back(now())

    async def settle(self, now: Callable[[], Promised], good: Iterable[IPPool]) -> list[Problem]:
        """Make the ledger say what this node has: what it promised, and nothing else.

        A handle without addresses is being dealt with and left alone. What nobody here holds is given back, what the
        ledger lacks is entered, and blocks of ours that have been empty for a while go. What another has is a problem.
        """
        async with self._alone:
            promised = now()
            await self._give_back(promised)
            problems = [
                problem
                for handle, (pod, addresses) in promised.items()
                for address in addresses
                if (problem := await self._enter(Want(handle, pod, tuple(good), address)))
            ]
            await self._drop_empty()
            return problems

    async def _give_back(self, promised: Promised) -> None:
        def stale(address: str, holder: Holder) -> bool:
            if holder.node != self._node:
                return False
            _, own = promised.get(holder.handle, ("", ("",)))
            return address not in own if own else False

        for block in self._view.blocks():
            if any(holder.node == self._node for _, holder in block.held):
                await self._edit(block.name, lambda block: blocks.take_back(block, stale))

    async def _enter(self, want: Want) -> Problem | None:
        block = self._view.holding(want.exact)
        if block is not None and blocks.of_handle(block, want.handle) == want.exact:
            return None
        origin = f"Pod {want.pod}" if want.pod else f"container {want.handle}"
        if block is None and not any(pools.within(pool, want.exact) for pool in want.pools):
            return Problem(
                origin, "status.podIPs", f"{want.exact} is in no IPPool: other nodes do not know the way to it"
            )
        try:
            await self._exactly(want)
        except TakenAddressError as taken:
            return Problem(origin, "status.podIPs", f"{taken}: delete the pod")
        return None

    async def _drop_empty(self) -> None:
        now = self._clock.monotonic()
        empty = {block.name: block for block in self._view.blocks() if block.node == self._node and not block.held}
        self._empty_since = {name: self._empty_since.get(name, now) for name in empty}
        for name, since in self._empty_since.items():
            if now - since >= self._keep:
                await self._delete(empty[name])

    async def _edit(self, name: str, change: Change) -> None:
        """Until the newest version is as `change` makes it."""
        block = self._view.get(name)
        for _ in range(TRIES):
            if block is None or change(block) == block or await self._write(change(block)):
                return
            block = await self._fetch(name)
        raise BusyError(f"block {name} changes all the time")

    async def _write(self, block: Block) -> bool:
        stored = await self._ledger.update(block)
        if stored is not None:
            self._view.wrote(stored)
        return stored is not None

    async def _delete(self, block: Block) -> None:
        """If it is still as we know it: nobody has taken an address of it since."""
        if await self._ledger.delete(block):
            self._view.removed(block)
        else:
            await self._fetch(block.name)

    async def _fetch(self, name: str) -> Block | None:
        found = await self._ledger.get(name)
        if found is None:
            self._view.absent(name)
        else:
            self._view.wrote(found)
        return found

    def _holder(self, want: Want) -> Holder:
        return Holder(want.handle, self._node, want.pod, rfc3339(self._clock.now()))
