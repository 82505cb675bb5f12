"""The port to XFRM, the kernel's IPsec: states (keys of one direction) and policies (which packets need which state).

States are ESP in tunnel mode by AES-GCM with extended sequence numbers and carry packets of both families. Links that
lead to them are rtnetlink's (`Xfrm(if_id)`). Called by dataplane/overlay. Source: RFC 4301, 4303 and 4106,
include/uapi/linux/xfrm.h.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from clew.base.value import Value

Direction = Literal["in", "out", "fwd"]
WINDOW = 1024  # packets that may overtake each other before one counts as a repeated one


class State(Value):
    """One direction between two hosts. The kernel knows it by `target` and `spi` alone."""

    source: str  # outer addresses
    target: str
    spi: int
    reqid: int = 0  # what policies ask for it by
    if_id: int = 0  # of the link whose packets it carries; 0: of none


class Template(Value):
    """What a policy asks for: a state of this `reqid`; "" and 0 leave the rest open."""

    reqid: int
    source: str = ""
    target: str = ""
    spi: int = 0


class Policy(Value):
    """Packets from `source` to `target` in `direction` need a state as in `needs`; None: they are dropped.

    The kernel tells policies apart by all but `needs` and `priority`.
    """

    direction: Direction
    source: str  # prefixes, "0.0.0.0/0"
    target: str
    needs: Template | None
    if_id: int = 0
    priority: int = 0


class Xfrm(Protocol):
    def states(self) -> Mapping[State, int]:
        """All that are whole, each with the bytes that it has carried."""
        ...

    def add_state(self, state: State, key: bytes) -> None:
        """`key`: AES's 16, 24 or 32 bytes and four of salt.

        KernelError: EEXIST where SPI and target are taken; EOPNOTSUPP, with the names of what is missing, where the
        kernel has no ESP or no AES-GCM.
        """
        ...

    def remove_state(self, state: State) -> None:
        """KernelError: ESRCH where there is none."""
        ...

    def policies(self) -> list[Policy]:
        """All but those of single sockets."""
        ...

    def put_policy(self, policy: Policy, *, known: bool = False) -> None:
        """Make it, or with `known` put it in place of the one that has its selector: no packet sees neither.

        KernelError: EEXIST where another has its selector.
        """
        ...

    def remove_policy(self, policy: Policy) -> None:
        """KernelError: ENOENT where there is none."""
        ...

    def close(self) -> None: ...
