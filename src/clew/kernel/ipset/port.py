"""The port to ipset, in ipset's own vocabulary: an entry is the text that `ipset list` prints.

    hash:ip            10.96.0.10
    hash:net           10.244.0.0/16
    hash:ip,port       10.96.0.10,tcp:80
    hash:ip,port,ip    10.244.1.10,tcp:8080,10.244.1.10
    hash:ip,port,net   192.0.2.10,tcp:80,172.30.0.0/24     (a whole address has no length)
    bitmap:port        30080

Called by dataplane/ipvs. Every call blocks for as long as the kernel needs.
"""

from collections.abc import Iterable
from typing import Literal, Protocol

from clew.base.addresses import Family
from clew.base.value import Value
from clew.kernel.errors import KernelError

Kind = Literal["hash:ip", "hash:net", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net", "bitmap:port"]
NAME_LENGTH = 31  # bytes
MOST = 1 << 20  # entries that a hash may have


class IpSet(Value):
    """A set's declaration. A bitmap of ports has no family; it is written as 4."""

    name: str
    kind: Kind
    family: Family = 4


class IpSetError(KernelError):
    """ipset or the kernel refused. Of several entries those before the refused one are in."""


class IpSets(Protocol):
    def sets(self) -> dict[str, IpSet]:
        """Every set of the kinds above; others are passed over."""
        ...

    def create(self, what: IpSet) -> None:
        """EEXIST where the name is taken by a set of another kind or family; an equal set is fine."""
        ...

    def destroy(self, name: str) -> None:
        """A set that is not there is fine; EBUSY while a rule refers to it."""
        ...

    def entries(self, name: str) -> set[str]:
        """Everything in a set; ENOENT where there is none of this name."""
        ...

    def change(self, what: IpSet, remove: Iterable[str], add: Iterable[str]) -> None:
        """Removals first. Adding what is there and removing what is not is fine."""
        ...

    def close(self) -> None: ...
