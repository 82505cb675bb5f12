"""Which part of the cluster's pod ranges a node gets: one prefix a family, never one that overlaps another's. Pure."""

from collections.abc import Iterable

from clew.base.addresses import Network, network


class Ranges:
    """The pod ranges (one a family), cut into blocks of a node's size.

    What is taken is known only from the nodes themselves, so a restart starts with all of them and nothing is stored.
    """

    def __init__(self, cidrs: Iterable[str], mask_v4: int, mask_v6: int) -> None:
        self._pools = [_Pool(network(cidr), mask_v6 if ":" in cidr else mask_v4) for cidr in cidrs]

    def choose(self, taken: Iterable[str]) -> list[str] | None:
        """One free block a family, the lowest, in the order of the ranges; None when a range is used up.

        `taken` are all nodes' blocks, of any family and any size, ours or foreign.
        """
        used = [network(text) for text in taken]
        found = [pool.free(used) for pool in self._pools]
        return None if None in found else [str(each) for each in found]


class _Pool:
    def __init__(self, whole: Network, mask: int) -> None:
        if mask < whole.prefixlen:
            raise ValueError(f"a node's range /{mask} is larger than the cluster's {whole}")
        self._whole = whole
        self._mask = mask
        self._size = 1 << (whole.max_prefixlen - mask)

    def free(self, used: Iterable[Network]) -> Network | None:
        start, end = int(self._whole.network_address), int(self._whole.broadcast_address)
        spans = sorted(
            (int(each.network_address), int(each.broadcast_address))
            for each in used
            if each.version == self._whole.version
        )
        candidate = start
        for low, high in spans:
            if low >= candidate + self._size:
                break
            if high >= candidate:  # overlaps: go on behind it, on the next block's border
                candidate = start + -(-(high + 1 - start) // self._size) * self._size
        if candidate + self._size - 1 > end:
            return None
        return type(self._whole)((candidate, self._mask))
