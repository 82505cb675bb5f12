"""What may be done with a block, as one version of it to the next; and who must get packets for what of it. Pure.

A block's first and last address are a pod's as any other: pods with blocks hang on links of their own, which need no
network and broadcast address and no gateway in the range. Addresses are given out in the order in which they came
free, so one that somebody just had waits longest.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from clew.compile.ipam import Pool
from clew.facts.ipamblock import Block, Holder
from clew.facts.node import Node


def opened(cidr: str, node: str, holder: Holder, place: int = 0) -> tuple[Block, str]:
    """A node's new block with its first address given, and that address."""
    block = Block(cidr, node)
    return _given(replace(block, free=tuple(range(block.network.num_addresses))), holder, place)


def give(block: Block, holder: Holder, place: int | None = None) -> tuple[Block, str] | None:
    """The block with one more address given, and the address; None where the place, or every one, is taken."""
    if not block.free or (place is not None and place not in block.free):
        return None
    return _given(block, holder, block.free[0] if place is None else place)


def _given(block: Block, holder: Holder, chosen: int) -> tuple[Block, str]:
    free = tuple(each for each in block.free if each != chosen)
    held = tuple(sorted((*block.held, (chosen, holder)), key=lambda one: one[0]))
    return replace(block, free=free, held=held), block.address(chosen)


def take_back(block: Block, gone: Callable[[str, Holder], bool]) -> Block:
    """Without the addresses that `gone` names by address and holder; they wait at the end."""
    freed = tuple(place for place, holder in block.held if gone(block.address(place), holder))
    if not freed:
        return block
    left = tuple(one for one in block.held if one[0] not in freed)
    return replace(block, held=left, free=(*block.free, *freed))


def inherited(block: Block, gone: AbstractSet[str], heir: str) -> Block:
    """Without what nodes that are `gone` have of it; if it was theirs, it is the heir's now."""
    left = take_back(block, lambda _address, holder: holder.node in gone)
    return replace(left, node=heir) if block.node in gone else left


def of_handle(block: Block, handle: str) -> str | None:
    """The address that a handle has in the block."""
    return next((block.address(place) for place, holder in block.held if holder.handle == handle), None)


def shares(block: Block) -> tuple[tuple[str, str], ...]:
    """Who must get packets for what of a block, as (node, range): its owner, and each other node an address."""
    alone = block.network.max_prefixlen
    lent = (
        (holder.node, f"{block.address(place)}/{alone}") for place, holder in block.held if holder.node != block.node
    )
    return (*(((block.node, block.cidr),) if block.node else ()), *lent)


def with_ranges(nodes: Iterable[Node], have: Mapping[str, Iterable[str]]) -> list[Node]:
    """The nodes, each with what it has of the pools in place of what spec.podCIDRs says."""
    return [replace(node, pod_cidrs=tuple(have.get(node.name, ()))) for node in nodes]


def as_pools(cidrs: Iterable[str]) -> tuple[Pool, ...]:
    return tuple(map(Pool, cidrs))
