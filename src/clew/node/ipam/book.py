"""Blocks as this agent knows them over the ledger that has them: read, changed, and remembered when a write was taken.

What is remembered is a guess that saves questions: a wrong guess costs a conflict and another try, never an address
twice. Used by claims.py, which says what is to be written.
"""

import logging
from collections.abc import Callable, Collection

from clew.base.errors import WorldError
from clew.facts.ipamblock import Block
from clew.node.ipam.ledger import Ledger
from clew.node.ipam.view import BlockView

logger = logging.getLogger(__name__)

TRIES = 50  # times that one block may change under us before we say that we are busy

Change = Callable[[Block], Block]


class BusyError(WorldError):
    """Others changed the block each time; trying again may help."""


class BlockBook:
    """`view` is kept by whoever watches the blocks, `nodes` are the Nodes' names as somebody watches them.

    Everything that asks the ledger may raise ApiError.
    """

    def __init__(self, ledger: Ledger, view: BlockView, nodes: Callable[[], Collection[str]] = tuple) -> None:
        self._ledger = ledger
        self._view = view
        self.get = view.get
        self.all = view.blocks
        self.holding = view.holding
        self.nodes = nodes
        self.has_node = ledger.has_node
        self.pods_of = ledger.pods_of

    async def create(self, block: Block) -> bool:
        """Whether it is there and alone: after a pool's block size was changed, blocks of both sizes could meet."""
        stored = await self._ledger.create(block)
        self._view.refresh(await self._ledger.every())
        if stored is None:
            return False
        family = stored.network.version
        others = [
            other.network for other in self.all() if other.network.version == family and other.name != stored.name
        ]
        if any(other.overlaps(stored.network) for other in others):
            logger.warning("block %s overlaps with another one: it goes", stored.cidr)
            await self.delete(stored)
            return False
        return True

    async def edit(self, name: str, change: Change) -> None:
        """Until the newest version is as `change` makes it."""
        block = self.get(name)
        for _ in range(TRIES):
            if block is None or change(block) == block or await self.write(change(block)):
                return
            block = await self.fetch(name)
        raise BusyError(f"block {name} changes all the time")

    async def write(self, block: Block) -> bool:
        """Whether it took the place of the version that it was made from."""
        stored = await self._ledger.update(block)
        if stored is not None:
            self._view.wrote(stored)
        return stored is not None

    async def delete(self, block: Block) -> None:
        """If it is still as we know it: nobody has taken an address of it since."""
        if await self._ledger.delete(block):
            self._view.removed(block)
        else:
            await self.fetch(block.name)

    async def fetch(self, name: str) -> Block | None:
        """The newest version."""
        found = await self._ledger.get(name)
        if found is None:
            self._view.absent(name)
        else:
            self._view.wrote(found)
        return found
