"""The port to nftables: what Clew asks of it, in nft's own vocabulary. Knows no service and no rule of ours.

Two ways in, because they cost differently. Structure (tables, chains, rules, declarations of sets) goes as text
through libnftables: rare, readable, checked by nft. Elements of sets and maps go as binary batches: 27 microseconds for
a handful at any size of the set. Both are all or nothing, and both are read back.

Called by dataplane/nftables/apply and by whoever else keeps a table of its own. Every call blocks for as long as the
kernel needs; large ones belong into a thread.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

from clew.base.value import Value
from clew.kernel.errors import KernelError

Family = Literal["ip", "ip6", "inet", "arp", "bridge", "netdev"]


class ElementSet(Value):
    """A set or map whose elements come and go, with the sizes of what it holds.

    A key is its fields, each padded to four bytes, in network order but for what the kernel keeps in its own (marks and
    priorities). In an interval set a key is two of them: the first and the last of the range.
    """

    family: Family
    table: str
    name: str
    key_length: int  # bytes of one key, before doubling for a range
    data_length: int  # bytes of the value; 0 for a set
    interval: bool = False

    def __str__(self) -> str:
        return f"{'map' if self.data_length else 'set'} {self.name} of table {self.family} {self.table}"


class ElementChange(Value):
    """What leaves and what enters one set. Removals of a batch come before all its additions, across sets too.

    A value is `data_length` bytes, followed by the element's comment in UTF-8, if it has one (at most 128 bytes).
    """

    target: ElementSet
    remove: Collection[bytes]
    add: Mapping[bytes, bytes]


class NftError(KernelError):
    """nft or the kernel refused; nothing of the script or batch is in force. `key`: the element, where one is named."""

    def __init__(self, number: int, what: str, *, index: int = 0, detail: str = "", key: bytes = b"") -> None:
        super().__init__(number, what, index=index, detail=detail)
        self.key = key


class Nft(Protocol):
    def run(self, script: str) -> None:
        """Run nft commands as one transaction."""
        ...

    def listing(self, family: Family, table: str) -> str | None:
        """One table as `nft --terse --numeric-priority list table` prints it (no elements); None where it is not."""
        ...

    def fingerprint(self, family: Family, table: str) -> bytes:
        """A digest of the table's chains, rules and declarations of sets, without the elements; empty where it is not.

        Comparable only with an earlier one of the same table in the same kernel; a listing of a table with 50,000
        elements costs 0.3 s of CPU, this well under a millisecond.
        """
        ...

    def change(self, changes: Sequence[ElementChange]) -> None:
        """Remove and add elements as one transaction.

        Refused: removing what is not there (ENOENT), adding a key that is there with another value (EEXIST).
        """
        ...

    def elements(self, target: ElementSet) -> dict[bytes, bytes]:
        """Every element of a set or map, in ElementChange's words; NftError (ENOENT) where there is no such set."""
        ...

    def generation(self) -> int:
        """A number that grows by one with every transaction of anybody in this network namespace."""
        ...

    def close(self) -> None: ...
