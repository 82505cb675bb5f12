"""What nodes have whose Node object is gone: kept while their pods may run, and then free for all.

A Node that is gone says nothing of its machine, which may run on, cut off. So an address of it is kept as long as the
API server has a Pod that may have it, and GRACE seconds more, in which a kubelet that hears of it ends the pod; a
block, until nothing of its node is left in it. A node that comes back has what nobody else took meanwhile, as it was.
Calico's garbage collection does the same, in a controller. Here LOOKERS of the nodes that are there look after each
that is gone, by a hash, so that any of them may fail; and whoever finds a pool exhausted looks, too.

Used by claims.py, one call at a time.
"""

import hashlib
import logging
from collections.abc import Callable, Collection
from math import inf

from msgspec.structs import replace

from clew.base.clock import Clock
from clew.base.value import Value
from clew.compile import blocks
from clew.facts.ipamblock import Block, Holder
from clew.node.ipam.book import BlockBook
from clew.node.ipam.cooling import Cooling

logger = logging.getLogger(__name__)

GRACE = 60.0  # seconds: a kubelet's usual 30 to end a pod, and a watch that is behind
LOOK = 5.0  # seconds between two looks at one node, at least: each asks the API server twice
SWEEP = 15.0  # between two of all blocks, where nobody is in need
LOOKERS = 3

Heir = Callable[[Block], str]  # whose a block becomes; "" nobody's


class Freed(Value):
    """What may go now."""

    nodes: frozenset[str]
    addresses: frozenset[tuple[str, Holder]]

    def of(self, block: Block, heir: Heir, cooling: Cooling) -> Block:
        left = blocks.take_back(block, lambda address, holder: (address, holder) in self.addresses, cooling.since())
        if block.node not in self.nodes or any(holder.node == block.node for _, holder in left.held):
            return left
        return replace(cooling.thawed(left), node=heir(block))


class Vanished:
    def __init__(self, node: str, book: BlockBook, cooling: Cooling, clock: Clock, grace: float = GRACE) -> None:
        self._node = node
        self._book = book
        self._cooling = cooling
        self._clock = clock
        self._grace = grace
        self._look_every, self._sweep_every = min(LOOK, grace), min(SWEEP, grace)
        self._gone: dict[str, float] = {}  # since when a node is, as far as this agent knows
        self._orphans: dict[tuple[str, Holder], float] = {}  # since when an address has had no Pod
        self._looked: dict[str, float] = {}
        self._swept = -inf

    async def sweep(self) -> None:
        """What may go of nodes that this one looks after becomes nobody's; a block that is nobody's and empty goes."""
        now = self._clock.monotonic()
        if now - self._swept < self._sweep_every:
            return
        self._swept = now
        await self._free(await self._look(self._is_mine), lambda _: "")
        empty = [
            block for block in self._readable()
            if not block.node and not block.held and not self._cooling.thawed(block).cooling
        ]  # fmt: skip
        for block in empty if empty and self._is_mine("") else ():
            await self._book.delete(block)

    async def inherit(self, within: Callable[[Block], bool], heir: Heir) -> bool:
        """The same of all nodes for who needs it; whether there was anything in the blocks that are asked about."""
        return await self._free(await self._look(lambda _: True), heir, within)

    async def _look(self, concerns: Callable[[str], bool]) -> Freed:
        now, found = self._clock.monotonic(), self._readable()
        absent = {holder.node for block in found for _, holder in block.held} | {block.node for block in found}
        absent -= {self._node, *self._book.nodes()}
        held = [
            (block.address(place), holder)
            for block in found if absent for place, holder in block.held if holder.node in absent
        ]  # fmt: skip
        for name in self._gone.keys() - absent:
            self._forget(name)
        seen = {""} & absent
        for name in sorted(absent - {""}):
            if not concerns(name) or now - self._looked.get(name, -inf) < self._look_every:
                continue
            self._looked[name] = now
            if await self._book.has_node(name):  # the watch is behind
                self._forget(name)
                continue
            self._gone.setdefault(name, now)
            pods = await self._book.pods_of(name)
            mine = [each for each in held if each[1].node == name]
            orphans = {each for each in mine if not _may_run(*each, pods)}
            former = {each: since for each, since in self._orphans.items() if each in orphans}
            self._forget_addresses(name)
            self._orphans |= {each: former.get(each, now) for each in orphans}
            seen.add(name)
        due = now - self._grace
        addresses = {
            each for each, since in self._orphans.items()
            if each[1].node in seen and since <= due and self._gone[each[1].node] <= due
        }  # fmt: skip
        return Freed(frozenset(name for name in seen if not name or self._gone[name] <= due), frozenset(addresses))

    async def _free(self, freed: Freed, heir: Heir, within: Callable[[Block], bool] = bool) -> bool:
        found = False
        for block in self._readable() if freed.nodes else ():
            if within(block) and freed.of(block, heir, self._cooling) != block:
                logger.info("block %s: what pods of nodes that are gone had is free", block.cidr)
                await self._book.edit(block.name, lambda block: freed.of(block, heir, self._cooling))
                found = True
        return found

    @property
    def kept(self) -> str:
        """For whose sake addresses are kept, for people."""
        names = ", ".join(sorted(self._gone))
        return f"; nodes that are gone keep addresses for their pods: {names}" if names else ""

    def _readable(self) -> list[Block]:
        return [block for block in self._book.all() if not block.malformed]

    def _is_mine(self, name: str) -> bool:
        return self._node in lookers(name, {self._node, *self._book.nodes()})

    def _forget(self, name: str) -> None:
        self._gone.pop(name, None)
        self._looked.pop(name, None)
        self._forget_addresses(name)

    def _forget_addresses(self, name: str) -> None:
        self._orphans = {each: since for each, since in self._orphans.items() if each[1].node != name}


def lookers(name: str, nodes: Collection[str]) -> list[str]:
    """Who looks after what a node had: the same few for everybody who knows the same nodes."""
    return sorted(nodes, key=lambda node: hashlib.sha256(f"{name}/{node}".encode()).digest())[:LOOKERS]


def _may_run(address: str, holder: Holder, pods: dict[str, tuple[str, ...]]) -> bool:
    """Whether somebody may have an address: no Pod's sandbox, of which nobody knows, or a Pod that names no other."""
    if not holder.pod:
        return True
    said = pods.get(holder.pod)
    return said is not None and (not said or address in said)
