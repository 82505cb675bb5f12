"""Addresses of the ranges that a Node was given once for all, `spec.podCIDRs`: nobody has to be asked."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from clew.compile import ipam
from clew.compile.ipam import Pool, UnsuitableError
from clew.facts.attachment import Attachment
from clew.facts.node import Node
from clew.node.ipam.port import Held, Layout
from clew.node.ipam.wish import Wish


class PodCidrIpam:
    """The node's own ranges, one a family, given to it once for all; nobody has to be asked."""

    in_sync = True
    revision = 0
    lacking = "it has no usable spec.podCIDRs yet"

    def __init__(self) -> None:
        self._pools: tuple[Pool, ...] = ()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 - nothing does
        return lambda: None

    def layout(self, nodes: Iterable[Node], own: Node | None, held: Iterable[Attachment]) -> Layout:
        """After a node came back with other ranges, or from IPPools, nobody finds the pods that it had before."""
        self._pools, problems = ipam.pools(own) if own is not None else ((), ())
        if self._pools:
            problems += ipam.strays(
                self._pools, ((each.origin, address) for each in held for address in each.addresses)
            )
        families = frozenset(pool.network.version for pool in self._pools)
        cidrs = tuple(pool.cidr for pool in self._pools)
        return Layout(tuple(nodes), self._pools, families, cidrs, problems=problems)

    async def choose(self, wish: Wish, held: Held) -> tuple[str, ...]:
        """Nothing is waited for, so no other choice comes in between."""
        wish.refuse_beyond({pool.network.version for pool in self._pools})
        if wish.pools:
            raise UnsuitableError("the pod asks for an IPPool, and network.ipam.type of this node's agent is podCIDR")
        taken = {address for _, addresses in held.promised().values() for address in addresses}
        previous = {":" in address: address for address in held.last}
        try:
            fixed = ipam.fixed(wish.ips, self._pools, taken)
        except UnsuitableError as refused:
            ranges = ", ".join(pool.cidr for pool in self._pools)
            raise UnsuitableError(f"{wish.ips_field}: {refused}; ranges: {ranges}") from None
        return tuple(
            pool.with_length(fixed.get(pool) or self._choose(pool, wish, taken, previous)) for pool in self._pools
        )

    def _choose(self, pool: Pool, wish: Wish, taken: AbstractSet[str], previous: Mapping[bool, str]) -> str:
        family = pool.network.version
        return ipam.choose(pool, taken, previous.get(family == 6, ""), wish.ranges.get(family))

    def freed(self) -> None:
        """The journal alone knows."""
