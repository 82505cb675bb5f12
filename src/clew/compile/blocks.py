"""What may be done with a block, as one version of it to the next; and who must get packets for what of it. Pure.

A block's first and last address are a pod's as any other: pods with blocks hang on links of their own, which need no
network and broadcast address and no gateway in the range. Addresses are given out in the order in which they came
free, so one that somebody just had waits longest.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from clew.compile.ipam import Pool
from clew.compile.stretches import Stretch, common, hits
from clew.facts.ipamblock import Block, Holder
from clew.facts.node import Node


def empty(cidr: str, node: str) -> Block:
    """A node's new block."""
    block = Block(cidr, node)
    return replace(block, free=tuple(range(block.network.num_addresses)))


def next_place(block: Block, among: Sequence[Stretch]) -> int | None:
    """The free place that has waited longest of those that lie in one of the stretches."""
    first = int(block.network.network_address)
    here = common(among, ((first, int(block.network.broadcast_address)),))
    return next((place for place in block.free if hits(here, first + place, first + place)), None)


def give(block: Block, holder: Holder, place: int) -> tuple[Block, str] | None:
    """The block with one more address given, and the address; None where somebody has it.

    One that nobody is to have for a while can be given, too: `next_place` does not choose such, people may.
    """
    free = tuple(each for each in block.free if each != place)
    cooling = tuple(each for each in block.cooling if each[0] != place)
    if len(free) + len(cooling) == len(block.free) + len(block.cooling):
        return None
    held = tuple(sorted((*block.held, (place, holder)), key=lambda one: one[0]))
    return replace(block, free=free, cooling=cooling, held=held), block.address(place)


def take_back(block: Block, gone: Callable[[str, Holder], bool], cools_since: str = "") -> Block:
    """Without the addresses that `gone` names by address and holder; they wait at the end.

    With `cools_since`, the time, they are nobody's until `thawed` says so.
    """
    freed = tuple(place for place, holder in block.held if gone(block.address(place), holder))
    if not freed:
        return block
    left = tuple(one for one in block.held if one[0] not in freed)
    if cools_since:
        return replace(block, held=left, cooling=(*block.cooling, *((place, cools_since) for place in freed)))
    return replace(block, held=left, free=(*block.free, *freed))


def thawed(block: Block, before: str) -> Block:
    """With what came free no later than `before` free again."""
    freed = tuple(place for place, since in block.cooling if since <= before)
    if not freed:
        return block
    left = tuple(one for one in block.cooling if one[0] not in freed)
    return replace(block, cooling=left, free=(*block.free, *freed))


def moved(block: Block, handle: str, node: str) -> Block:
    """With what a handle has there held by a node."""
    held = tuple((at, replace(one, node=node) if one.handle == handle else one) for at, one in block.held)
    return replace(block, held=held)


def of_handle(block: Block, handle: str) -> str | None:
    """The address that a handle has in the block."""
    return next((block.address(place) for place, holder in block.held if holder.handle == handle), None)


def in_use(block: Block) -> tuple[int, int]:
    """How many addresses somebody has, and of these, how many are other nodes'."""
    return len(block.held), sum(1 for _, holder in block.held if holder.node != block.node)


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
