"""What of the IPPools this node uses, as metrics under Calico's names; and whether ledger and node agree.

Counted when somebody asks. A claim that is under way, and what a pod gave up a moment ago, count as disagreement for as
long as it takes to write them: only what stays is worth a look. Made by app/agent_pools.py.
"""

from clew.base.metrics import Registry
from clew.compile import pools
from clew.facts.ipamblock import Block
from clew.node.ipam.pools import GoodPools
from clew.node.ipam.port import Held
from clew.node.ipam.view import BlockView

NO_POOL = "no_ippool"  # Calico's word for a block whose pool is gone


class PoolFigures:
    def __init__(self, registry: Registry, node: str, good: GoodPools, view: BlockView, held: Held) -> None:
        self._node = node
        self._good = good
        self._view = view
        self._held = held
        labels = ("ippool", "node")
        self._in_use = registry.gauge("ipam_allocations_in_use", "addresses that this node's pods have", labels)
        self._borrowed = registry.gauge("ipam_allocations_borrowed", "of these, of other nodes' blocks", labels)
        self._blocks = registry.gauge("ipam_blocks", "this node's blocks", labels)
        self._sizes = registry.gauge("ipam_ippool_size", "addresses of an IPPool", labels[:1])
        self._differ = registry.gauge(
            "clew_ipam_disagreements",
            "addresses in an IPAMBlock that no pod here has, of pods here in no IPAMBlock, and unreadable blocks",
            ("kind",),
        )
        registry.before_render(self._count)

    def _count(self) -> None:
        good, _ = self._good()
        for gauge in (self._in_use, self._borrowed, self._blocks, self._sizes):
            gauge.values.clear()  # a pool may have gone
        blocks = self._view.blocks()
        for name, pool in good.items():
            self._sizes.set(pools.addresses(pool), name)
            for gauge in (self._in_use, self._borrowed, self._blocks):
                gauge.set(0, name, self._node)
        for block in blocks:
            name = next((pool.name for pool in good.values() if pools.within(pool, block.cidr)), NO_POOL)
            self._count_block(block, name)
        self._compare(blocks)

    def _count_block(self, block: Block, pool: str) -> None:
        ours = sum(1 for _, holder in block.held if holder.node == self._node)
        mine = block.node == self._node
        for gauge, number in ((self._in_use, ours), (self._borrowed, 0 if mine else ours), (self._blocks, int(mine))):
            if number:
                gauge.add(pool, self._node, by=number)

    def _compare(self, blocks: list[Block]) -> None:
        written = {
            (holder.handle, block.address(place))
            for block in blocks for place, holder in block.held if holder.node == self._node
        }  # fmt: skip
        promised = {(handle, each) for handle, (_, given) in self._held.promised().items() for each in given}
        self._differ.set(len(written - promised), "leaked")
        self._differ.set(len(promised - written), "unwritten")
        self._differ.set(sum(1 for block in blocks if block.malformed), "unreadable")
