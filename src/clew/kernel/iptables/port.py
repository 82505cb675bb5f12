"""The port to iptables, in the vocabulary of iptables-save and iptables-restore. Knows no service and no rule of ours.

Called by the dataplanes whose rules are iptables rules. Every call starts a program and blocks for it: some
milliseconds for a small table, half a second for 5,000 services.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from clew.base.addresses import Family
from clew.kernel.errors import KernelError


class IptablesError(KernelError):
    """A program refused or is not there; of the table that it was at nothing is in force, tables before it are."""


class Iptables(Protocol):
    def restore(self, family: Family, script: str) -> None:
        """Add to what is there (iptables-restore --noflush); each table of the script is one transaction."""
        ...

    def save(self, family: Family, table: str) -> str:
        """One table as iptables-save prints it, without remarks; "" where nobody made it yet. Makes none."""
        ...

    def met(self, family: Family, table: str, chain: str) -> Mapping[str, int]:
        """How many packets each rule of a chain met since it was made; nothing where the chain is not there."""
        ...

    def tables(self, family: Family) -> Collection[str]:
        """Tables that are there in this network namespace; looking makes none and loads no module."""
        ...

    def kinds(self) -> Sequence["Iptables"]:
        """The same namespace by each kind of programs that is installed: a rule may be in the tables of either."""
        ...

    def others(self) -> Sequence["Iptables"]:
        """Those of `kinds` that do not write where this one does."""
        ...

    def close(self) -> None: ...
