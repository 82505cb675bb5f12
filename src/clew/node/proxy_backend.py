"""What node/proxy asks of a mode, and nothing else: one family's services in the kernel of one network namespace.

The modes are dataplane/{nftables,iptables,ipvs,userspace,ebpf}; none of them imports this, they only fit. All calls
but `serve` block on the kernel: small ones of a quick backend are made on the event loop (well under a millisecond),
all others in a thread, never two at a time for one backend. A refusing kernel is a `WorldError`; the next `sync` then
reads back what is there and sets it right, and what was wanted needs no repeat.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clew.base.metrics import Measure
from clew.ir.balancing import Balancer
from clew.ir.proxying import Settings

ServiceKey = tuple[str, str]
Changes = Mapping[ServiceKey, Iterable[Balancer]]  # each to be read as often as one likes


class Backend(Protocol):
    """The first `sync` adopts what an earlier agent of the same mode left, and writes nothing that is right already."""

    @property
    def settings(self) -> Settings: ...

    @property
    def quick(self) -> bool:
        """Whether a sync with a few changes takes well under a millisecond, whatever the number of services."""

    def prepare(self) -> None:
        """What has to be so before the first sync and needs rights: sysctls, links. May be called again."""

    def sync(self, changes: Changes) -> object:
        """Want these services so (no balancers: not at all), of all families, and make the kernel follow.

        Balancers of the other family are passed over. True where the kernel was changed.
        """

    def expect(self, changes: Changes) -> None:
        """Want these services so with the next sync."""

    def settle(self, settings: Settings) -> None:
        """Other settings of the same family, from the next sync on."""

    def verify(self) -> bool:
        """Whether everything is still as we left it; if not, the next sync repairs it. Called every period."""

    def tidy(self) -> None:
        """Let go with the next sync what is kept for a while: unused chains, servers that have drained."""

    def remove(self) -> None:
        """Take everything of this mode's out of the kernel, whoever made it.

        Nothing there, or a kernel that cannot have it, is fine; nothing is written then, and no module loaded.
        """

    def close(self) -> None:
        """Give descriptors back; the rules stay and forward."""

    async def serve(self) -> None:
        """What has to live beside the rules, until cancelled (a forwarder); where nothing has, returns at once."""

    def measures(self) -> Iterable[Measure]:
        """Numbers of this mode's own under kube-proxy's names, as they are now."""


Open = Callable[[Path | None, Sequence[Settings]], Sequence[Backend]]


@dataclass(frozen=True)
class Mode:
    """How to get a mode. The path is a network namespace; None: the caller's own.

    `open` makes one backend per settings (one a family), and touches nothing yet. `missing` says in one sentence what
    this kernel or machine lacks for the mode and what to do; "" where nothing.
    """

    open: Open
    missing: Callable[[Path | None], str]
