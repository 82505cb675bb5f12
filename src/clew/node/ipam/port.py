"""Where a node's addresses come from, as its users see it: `Ipam` chooses a pod's, and says which ranges are whose.

The answers are pod_cidr.py and pools.py. Used by node/attachments.py and node/podnet.py.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile.ipam import Pool
from clew.facts.attachment import Attachment
from clew.facts.node import Node
from clew.node.ipam.wish import Wish

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

    def layout(self, nodes: Iterable[Node], own: Node | None, held: Iterable[Attachment]) -> Layout:
        """`held` are this node's own; one whose address leads nowhere any more is a problem."""
        ...

    @property
    def lacking(self) -> str:
        """What to say while something has not arrived, or a layout has no families."""
        ...

    async def choose(self, wish: Wish, held: Held) -> tuple[str, ...]:
        """Addresses with their length, at most one a family. ExhaustedError, UnsuitableError, WorldError."""
        ...

    def freed(self) -> None:
        """What is held has become less."""
        ...
