"""Blocks as this agent knows them: what the watch brought, and what its own calls learned before the watch did.

Versions are compared as numbers (KEP-5504). What stands here may be old by a moment, and is never taken for more.
"""

from collections.abc import Iterable

from clew.base.addresses import address
from clew.facts.ipamblock import Block
from clew.store.table import Table


class BlockView:
    """Over the table that a reflector keeps; it tells `progress` how far that is complete."""

    def __init__(self, table: Table[Block]) -> None:
        self._table = table
        self._learned: dict[str, tuple[int, Block | None]] = {}  # by name: as of a version; None: gone since

    def progress(self, version: str) -> None:
        """The table shows everything up to this version: what was learned before it is no news any more."""
        if version.isdigit():
            complete = int(version)
            self._learned = {name: known for name, known in self._learned.items() if known[0] > complete}

    def get(self, name: str) -> Block | None:
        seen = self._table.get(("", name))
        known = self._learned.get(name)
        if known is None:
            return seen
        version, block = known
        caught_up = seen is not None and _number(seen) >= version + (block is None)
        if caught_up or (seen is None and block is None):
            del self._learned[name]
            return seen
        return block

    def blocks(self) -> list[Block]:
        """All, in the order of their names."""
        names = {name for (_, name), _ in self._table.items()} | self._learned.keys()
        return [block for name in sorted(names) if (block := self.get(name)) is not None]

    def holding(self, text: str) -> Block | None:
        """The block that an address lies in."""
        wanted = address(text)
        return next((block for block in self.blocks() if wanted in block.network), None)

    def wrote(self, block: Block) -> None:
        """The server has just shown this version, or taken it."""
        known = self._learned.get(block.name)
        if known is None or known[0] <= _number(block):
            self._learned[block.name] = _number(block), block

    def refresh(self, found: Iterable[Block]) -> None:
        """A list of all has arrived: whatever else is known has gone, or comes again by the watch."""
        found = tuple(found)
        listed = {block.name for block in found}
        for name in self._learned.keys() - listed:
            self.absent(name)
        for block in found:
            self.wrote(block)

    def removed(self, block: Block) -> None:
        """Its last version is this one."""
        self._learned[block.name] = _number(block), None

    def absent(self, name: str) -> None:
        """The server has none of this name."""
        block = self.get(name)
        if block is not None:
            self.removed(block)


def _number(block: Block) -> int:
    return int(block.version) if block.version.isdigit() else 0
