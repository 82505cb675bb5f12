"""The door to rtnetlink as its users see it; `Netlink` is the real one, `FakeNetlink` stands in for it in tests."""

from collections.abc import Sequence
from typing import Protocol

from clew.kernel.errors import KernelError
from clew.kernel.netlink.requests import Request
from clew.kernel.netlink.values import Address, Fdb, Filter, Link, Neighbour, Qdisc, Redirect, Route, Rule


class RtNetlink(Protocol):
    """Links, addresses, routes, neighbours and rules of one network namespace. Blocking; one caller at a time."""

    def request(self, batch: Sequence[Request]) -> None:
        """Carry out the batch in order; the first refusal raises KernelError.

        Not all or nothing: what stands before the refused one is done, what stands after it may be.
        """
        ...

    def attempt(self, batch: Sequence[Request]) -> list[KernelError | None]:
        """Carry out the batch in order, past refusals; one answer a request, None where it was done."""
        ...

    def link(self, name: str) -> Link | None:
        """One link by name or further name."""
        ...

    def links(self) -> list[Link]: ...

    def addresses(self) -> list[Address]: ...

    def routes(self, *, proto: int = 0, table: int = 0) -> list[Route]:
        """Both families' routes; 0 means any."""
        ...

    def neighbours(self) -> list[Neighbour]:
        """Both families' entries that carry a MAC, and the proxied addresses."""
        ...

    def fdb(self) -> list[Fdb]: ...

    def rules(self) -> list[Rule]: ...

    def qdiscs(self) -> list[Qdisc]: ...

    def filters(self, dev: str) -> list[Filter]:
        """The BPF filters of a link, both directions; none where it has no clsact, or is not there."""
        ...

    def redirects(self, dev: str) -> list[Redirect]:
        """Where a link's incoming packets are led; none where it has no clsact, or is not there."""
        ...

    def close(self) -> None: ...
