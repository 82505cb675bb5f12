"""Addresses from blocks: claimed before anybody hears of them, given back when nobody holds them any more.

One agent works on one block version at a time; that two agents never own one address rests on the ledger alone, which
takes a version only in place of the one before. An answer that was lost is asked for again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from clew.base.addresses import family_of
from clew.base.clock import Clock, rfc3339
from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile import blocks, pools
from clew.compile.ipam import ExhaustedError
from clew.compile.ipam_rules import Rules
from clew.compile.stretches import Part, Stretch, common, stretch, without
from clew.facts.ipamblock import Block, Holder
from clew.facts.ippool import IPPool
from clew.node.ipam.book import TRIES, BlockBook, BusyError
from clew.node.ipam.cooling import Cooling
from clew.node.ipam.port import Promised
from clew.node.ipam.vanished import GRACE, Vanished

logger = logging.getLogger(__name__)


class Want(Value):
    """An address of one family for one attachment: from `pools`, in their order, or exactly `exact`."""

    handle: str
    pod: str  # "default/web"; may be empty
    pools: tuple[IPPool, ...]
    exact: str = ""
    part: Part | None = None  # all of the pools that is wanted


class Waits(Value):
    """Seconds."""

    empty: float = 60.0  # for which a block of ours stays without a pod: addresses are not given out anew at once
    gone: float = GRACE  # for which a node that is gone keeps what it had, beyond its pods


WAITS = Waits()


class TakenAddressError(Exception):
    """Somebody else has, or keeps, the address that was asked for; the text says who."""


class BlockClaims:
    """`node` is this agent's; `view` is kept by whoever watches the blocks; `rules` are asked for at each claim."""

    def __init__(
        self,
        node: str,
        book: BlockBook,
        clock: Clock,
        rules: Callable[[], Rules] = Rules,
        waits: Waits = WAITS,
    ) -> None:
        self._node = node
        self._book = book
        self._clock = clock
        self._rules = rules
        self._keep = waits.empty
        self._cooling = Cooling(clock, rules)
        self._vanished = Vanished(node, book, self._cooling, clock, waits.gone)
        self._alone = asyncio.Lock()
        self._empty_since: dict[str, float] = {}

    async def claim(self, want: Want) -> str:
        """A bare address, this handle's from now on. ExhaustedError, TakenAddressError, BusyError, ApiError.

        Our own blocks come first, then a new one, then what belonged to nodes that are gone, then others' blocks.
        """
        async with self._alone:
            if want.exact:
                return await self._exactly(want)
            return await self._any(want)

    async def _any(self, want: Want) -> str:
        found = await self._from_own(want)
        for pool in want.pools:
            found = found or await self._carve(want, pool)
        if not found and await self._inherit(want):
            found = await self._from_own(want)
        for pool in () if self._rules().strict else want.pools:
            found = found or await self._from_blocks(want, pool, mine=False)
        if not found:
            names = ", ".join(f"{pool.name} ({pool.cidr})" for pool in want.pools)
            names += f" within {want.part.text}" if want.part is not None else ""
            full = "every block is full, and there is no room for another one"
            limits = self._rules().limits(self._own(want.pools[0].family) if want.pools else 0)
            barred = "".join(f"; {why}" for pool in want.pools if (why := self._rules().why_barred(pool.cidr)))
            raise ExhaustedError(f"no free address in IPPool {names}", full + limits + barred + self._vanished.kept)
        return found

    async def _from_own(self, want: Want) -> str:
        found = ""
        for pool in want.pools:
            found = found or await self._from_blocks(want, pool, mine=True)
        return found

    async def _from_blocks(self, want: Want, pool: IPPool, *, mine: bool) -> str:
        among = self._spare(want, pool)
        for block in self._book.all():
            may = (block.node == self._node) == mine and (block.free or block.cooling)
            if may and pools.within(pool, block.cidr) and (found := await self._give(block.name, want, among, mine)):
                return found
        return ""

    def _spare(self, want: Want, pool: IPPool) -> tuple[Stretch, ...]:
        """What of a pool may be given to whoever does not choose an address."""
        whole = (stretch(pool.cidr),)
        named = whole if want.part is None else common(whole, want.part.stretches)
        rules = self._rules()
        return without(named, (*rules.reserved.get(pool.family, ()), *rules.bar(pool.family)))

    async def _give(self, name: str, want: Want, among: Sequence[Stretch], mine: bool | None = None) -> str:  # noqa: FBT001 - whose the block must be
        """An address of one block; empty where it has none for us, or is not whose it should be."""
        block = self._book.get(name)
        for _ in range(TRIES):
            if block is None or (mine is not None and (block.node == self._node) != mine):
                return ""
            had = blocks.of_handle(block, want.handle)
            if had:
                return had
            block = self._cooling.thawed(block)
            place = block.place(want.exact) if want.exact else blocks.next_place(block, among)
            given = None if place is None else blocks.give(block, self._holder(want), place)
            if given is None:
                return ""
            if await self._book.write(given[0]):
                return given[1]
            block = await self._book.fetch(name)
        raise BusyError(f"block {name} changes all the time")

    async def _carve(self, want: Want, pool: IPPool) -> str:
        """The first address of a new block; empty where the pool has no room for one, or we have enough."""
        among = self._spare(want, pool)
        passed: set[str] = set()  # what stands there is no block, as far as anybody can read
        for _ in range(TRIES if self._room(pool.family) else 0):
            places = pools.free_cidrs(pool, self._book.all(), self._node, among, self._rules().bar(pool.family))
            cidr = next((each for each in places if each not in passed), "")
            if not cidr:
                return ""
            block = blocks.empty(cidr, self._node)
            place = blocks.next_place(block, among)
            given = None if place is None else blocks.give(block, self._holder(want), place)
            if given is not None and await self._book.create(given[0]):
                return given[1]
            if self._book.get(block.name) is None:
                passed.add(cidr)
            elif found := await self._give(block.name, want, among, mine=True):  # an answer that was lost
                return found
        if not self._room(pool.family):
            return ""
        raise BusyError(f"other nodes carve blocks of IPPool {pool.name} all the time")

    def _room(self, family: int) -> int:
        """How many blocks more this node may have."""
        rules = self._rules()
        if not rules.carves:
            return 0
        return max(0, rules.most_blocks - self._own(family))

    def _own(self, family: int) -> int:
        """How many blocks this node has."""
        return sum(1 for block in self._book.all() if block.node == self._node and block.network.version == family)

    async def _exactly(self, want: Want, *, had: bool = False) -> str:
        """`had`: the node has promised it already, and no rule takes it away."""
        if not had and (why := self._rules().why_barred(want.exact)):
            raise TakenAddressError(f"{want.exact}: {why}")
        for tried in range(TRIES):
            block = self._book.holding(want.exact)
            if block is None:
                if not had and not self._room(family_of(want.exact)):
                    limits = self._rules().limits(self._own(family_of(want.exact)))
                    raise TakenAddressError(f"{want.exact} is in no block yet, and this node makes no more{limits}")
                if found := await self._carve_around(want, last=tried > 1, had=had):
                    return found
                continue
            holder = dict(block.held).get(block.place(want.exact))
            if holder is not None and holder.handle != want.handle:  # perhaps no more
                block = await self._book.fetch(block.name) or block
                holder = dict(block.held).get(block.place(want.exact))
            if holder is not None and holder.handle != want.handle:
                raise TakenAddressError(self._taken(want, holder, had=had))
            if block.malformed:
                raise TakenAddressError(f"{want.exact} is in {block.name}, an IPAMBlock that nobody can read")
            if not had and self._rules().strict and block.node not in {"", self._node}:
                limits = self._rules().limits(self._own(block.network.version))
                raise TakenAddressError(f"{want.exact} is in a block of node {block.node}{limits}")
            if await self._give(block.name, want, ()) == want.exact:
                return want.exact
        raise BusyError(f"the block of {want.exact} changes all the time")

    def _taken(self, want: Want, holder: Holder, *, had: bool) -> str:
        whose = f"pod {holder.pod}" if holder.pod else f"container {holder.handle}"
        if holder.pod and holder.pod == want.pod and not had:
            whose = f"an earlier sandbox of {whose}, which has not ended,"
        known = {self._node, *self._book.nodes()}
        gone = ", which is gone: what it had comes free when no Pod has it" * (holder.node not in known)
        return f"{want.exact} is in use by {whose} on node {holder.node}{gone}"

    async def _carve_around(self, want: Want, *, last: bool, had: bool) -> str:
        """The block of an address that is in none yet, and the address; empty where somebody was faster."""
        pool = next((pool for pool in want.pools if pools.within(pool, want.exact)), None)
        if pool is None:
            raise TakenAddressError(f"{want.exact} is in no IPPool any more")
        block = blocks.empty(pools.around(pool, want.exact), self._node)
        if not had and (why := self._rules().why_barred(block.cidr)):
            raise TakenAddressError(f"{want.exact}: no block {block.cidr} is made, for {why}")
        given = blocks.give(block, self._holder(want), block.place(want.exact))
        if given is not None and await self._book.create(given[0]):
            return given[1]
        if last and self._book.holding(want.exact) is None:
            text = f"no IPAMBlock {block.name} can be made: one that overlaps, or that nobody can read, is in the way"
            raise TakenAddressError(f"{want.exact}: {text}")
        return ""

    async def _inherit(self, want: Want) -> bool:
        """Take over what nodes that are no more have in these pools; whether there was anything."""

        def within(block: Block) -> bool:
            return any(pools.within(pool, block.cidr) for pool in want.pools)

        def heir(block: Block) -> str:
            return self._node if self._room(block.network.version) else ""

        return await self._vanished.inherit(within, heir)

    async def give_back(self, now: Callable[[], Promised]) -> None:
        """Only what nobody here holds; `now` is asked when no claim is under way."""
        async with self._alone:
            await self._give_back(now())

    async def settle(self, now: Callable[[], Promised], good: Iterable[IPPool]) -> list[Problem]:
        """Make the ledger say what this node has: what it promised, and nothing else.

        A handle without addresses is being dealt with and left alone. What nobody here holds is given back, what the
        ledger lacks is entered, and blocks of ours that have been empty for a while go; what nodes had that are gone
        becomes free in its time. What another has is a problem.
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
            await self._thaw()
            await self._drop_empty()
            await self._vanished.sweep()
            return [*problems, *self._unreadable()]

    async def _give_back(self, promised: Promised) -> None:
        def stale(address: str, holder: Holder) -> bool:
            if holder.node != self._node:
                return False
            _, own = promised.get(holder.handle, ("", ("",)))
            return address not in own if own else False

        for block in self._book.all():
            if any(holder.node == self._node for _, holder in block.held):
                await self._book.edit(block.name, lambda block: blocks.take_back(block, stale, self._cooling.since()))

    async def _enter(self, want: Want) -> Problem | None:
        block = self._book.holding(want.exact)
        holder = None if block is None else dict(block.held).get(block.place(want.exact))
        if block is not None and holder is not None and holder.handle == want.handle:
            if holder.node != self._node:  # somebody has edited it
                await self._book.edit(block.name, lambda block: blocks.moved(block, want.handle, self._node))
            return None
        if block is not None and block.malformed:  # _unreadable says so, once for all of it
            return None
        origin = f"Pod {want.pod}" if want.pod else f"container {want.handle}"
        if block is None and not any(pools.within(pool, want.exact) for pool in want.pools):
            return Problem(
                origin, "status.podIPs", f"{want.exact} is in no IPPool: other nodes do not know the way to it"
            )
        try:
            await self._exactly(want, had=True)
        except TakenAddressError as taken:
            return Problem(origin, "status.podIPs", f"{taken}: delete the pod")
        return None

    async def _thaw(self) -> None:
        for block in self._book.all():
            if block.node == self._node and self._cooling.thawed(block) != block:
                await self._book.edit(block.name, self._cooling.thawed)

    async def _drop_empty(self) -> None:
        now = self._clock.monotonic()
        mine = [block for block in self._book.all() if block.node == self._node and not block.malformed]
        empty = {block.name: block for block in mine if not block.held and not block.cooling}
        self._empty_since = {name: self._empty_since.get(name, now) for name in empty}
        for name, since in self._empty_since.items():
            if now - since >= self._keep:
                await self._book.delete(empty[name])

    def _unreadable(self) -> list[Problem]:
        remedy = "no address of it is given out: delete it, and each node enters what its pods have"
        return [
            Problem(f"IPAMBlock {block.name}", "spec", f"{block.malformed}; {remedy}")
            for block in self._book.all() if block.malformed
        ]  # fmt: skip

    def _holder(self, want: Want) -> Holder:
        return Holder(want.handle, self._node, want.pod, rfc3339(self._clock.now()))
