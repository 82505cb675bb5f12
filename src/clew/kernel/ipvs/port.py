"""The port to IPVS, in ipvsadm's vocabulary. Knows no service of Kubernetes and nothing of who owns a virtual server.

Called by dataplane/ipvs. Every call blocks for as long as the kernel needs; large ones belong into a thread.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from clew.base.addresses import Family
from clew.base.value import Value
from clew.kernel.errors import KernelError

Transport = Literal["TCP", "UDP", "SCTP"]
Forward = Literal["masquerade", "local", "tunnel", "route"]


class VirtualKey(Value):
    """What a client sends to."""

    family: Family
    protocol: Transport
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} {f'[{self.address}]' if self.family == 6 else self.address}:{self.port}"


class VirtualServer(Value):
    """`persistence`: seconds for which a client keeps its real server; 0: not at all.

    `port_in_hash`: the schedulers sh and mh take the client's port into account (ipvsadm's sh-port, mh-port).
    """

    scheduler: str
    persistence: int = 0
    port_in_hash: bool = False


class RealServer(Value):
    """The counts of connections are the kernel's; nobody sets them."""

    address: str
    port: int
    weight: int = 1
    forward: Forward = "masquerade"
    active: int = 0
    inactive: int = 0

    @property
    def at(self) -> tuple[str, int]:
        return self.address, self.port


class Put(Value):
    """Make a virtual server, or where it is already (`known`) edit it; connections and real servers stay."""

    key: VirtualKey
    server: VirtualServer
    known: bool = False


class Delete(Value):
    """With all its real servers."""

    key: VirtualKey


class PutReal(Value):
    """Put a real server behind a virtual one, or where it is already (`known`) edit it."""

    key: VirtualKey
    server: RealServer
    known: bool = False


class DeleteReal(Value):
    key: VirtualKey
    address: str
    port: int


Change = Put | Delete | PutReal | DeleteReal


class Timeouts(Value):
    """Seconds for which IPVS remembers a silent connection; 0 in a request: leave it."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0


class IpvsError(KernelError):
    """IPVS refused, or is not there."""


class Ipvs(Protocol):
    """Where the kernel has IPVS only as a module that nobody loaded, there are no servers, and changes are refused."""

    def load(self) -> None:
        """Load the module where that is needed; IpvsError (EOPNOTSUPP) says what is missing."""
        ...

    def servers(self) -> Mapping[VirtualKey, VirtualServer]:
        """Every virtual server that is told by address; those told by a firewall mark are passed over."""
        ...

    def real_servers(self, key: VirtualKey) -> Sequence[RealServer]:
        """Empty where there is no such virtual server, too: the kernel says no more."""
        ...

    def attempt(self, changes: Sequence[Change]) -> list[IpvsError | None]:
        """Carry out the changes in order, past refusals; one answer a change, None where it was done.

        EEXIST: there already; ESRCH: no such virtual server; ENOENT: no such real server, or no such scheduler.
        """
        ...

    def timeouts(self) -> Timeouts: ...

    def set_timeouts(self, timeouts: Timeouts) -> None: ...

    def close(self) -> None: ...
