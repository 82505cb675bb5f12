"""Where a node's addresses come from: the port `Ipam`, and the usual answer, Node.spec.podCIDRs.

The other answer is node/pool_ipam.py. An Ipam chooses a pod's addresses, and says to the pod network which ranges are
whose. Used by node/attachments.py and node/podnet.py.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile import ipam
from clew.compile.ipam import Pool, UnsuitableError
from clew.facts.node import Node
from clew.node.wish import Wish

Promised = Mapping[str, tuple[str, tuple[str, ...]]]  # by handle: the pod, and its bare addresses


class Held(Protocol):
    """What is promised on this node."""

    @property
    def last(self) -> tuple[str, ...]:
        """The addresses that were chosen last, one a family."""
        ...

    def promised(self) -> Promised:
        """By handle; one that is being chosen for has no addresses yet."""
        ...


class Layout(Value):
    """Whose ranges are where, as of now."""

    nodes: tuple[Node, ...]  # each with what its pods' packets go to, in `pod_cidrs`
    own: tuple[Pool, ...]  # of these, this node's
    families: frozenset[int]  # in which it can give addresses
    hidden: tuple[str, ...]  # ranges whose pods take the node's address where they leave the cluster
    inside: tuple[str, ...] = ()  # further ranges of pods
    problems: tuple[Problem, ...] = ()


class Ipam(Protocol):
    @property
    def in_sync(self) -> bool:
        """Whether all that it looks at has arrived."""
        ...

    @property
    def revision(self) -> int:
        """It grows whenever the next `layout` may be another for the same nodes."""
        ...

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when `in_sync` or `revision` changes; returns the function that ends it."""
        ...

    def layout(self, nodes: Iterable[Node], own: Node | None) -> Layout: ...

    @property
    def lacking(self) -> str:
        """What to say while a layout has no families."""
        ...

    async def choose(self, wish: Wish, held: Held) -> tuple[str, ...]:
        """Addresses with their length, at most one a family. ExhaustedError, UnsuitableError, WorldError."""
        ...

    def freed(self) -> None:
        """What is held has become less."""
        ...


class PodCidrIpam:
    """The node's own ranges, one a family, given to it once for all; nobody has to be asked."""

    in_sync = True
    revision = 0
    lacking = "it has no usable spec.podCIDRs yet"

    def __init__(self) -> None:
        self._pools: tuple[Pool, ...] = ()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 - nothing does
        return lambda: None

    def layout(self, nodes: Iterable[Node], own: Node | None) -> Layout:
        self._pools, problems = ipam.pools(own.pod_cidrs, own.origin) if own is not None else ((), ())
        families = frozenset(pool.network.version for pool in self._pools)
        cidrs = tuple(pool.cidr for pool in self._pools)
        return Layout(tuple(nodes), self._pools, families, cidrs, problems=problems)

    async def choose(self, wish: Wish, held: Held) -> tuple[str, ...]:
        """Nothing is waited for, so no other choice comes in between."""
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
            pool.with_length(fixed.get(pool) or ipam.choose(pool, taken, previous.get(pool.network.version == 6, "")))
            for pool in self._pools
        )

    def freed(self) -> None:
        """The journal alone knows."""
