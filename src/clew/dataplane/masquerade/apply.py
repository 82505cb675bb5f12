"""The nft table made as wanted. Blocking (a few milliseconds); called by node/podnet.py in its worker."""

from clew.dataplane.masquerade import render
from clew.dataplane.masquerade.objects import FAMILY, TABLE, NatTable
from clew.kernel.nft.port import Nft


class MasqueradePlane:
    """Rewrites the whole table where it differs: it changes when a node comes or goes, and is one rule a family."""

    def __init__(self, nft: Nft) -> None:
        self._nft = nft
        self._wanted: NatTable | None = None
        self._done: NatTable | None = None
        self._listing: str | None = None  # how nft printed what we wrote: a difference is somebody's doing

    def want(self, table: NatTable) -> None:
        self._wanted = table

    @property
    def pending(self) -> bool:
        return self._wanted != self._done

    def read(self) -> None:
        """Compare the kernel's table with what was written; the next `sync` repairs it."""
        if self._done is not None and self._nft.listing(FAMILY, TABLE) != self._listing:
            self._done = None

    def sync(self) -> None:
        """KernelError where nft refuses; nothing has changed then."""
        if self._wanted is None or self._wanted == self._done:
            return
        self._nft.run(render.script(self._wanted))
        self._listing = self._nft.listing(FAMILY, TABLE)
        self._done = self._wanted
