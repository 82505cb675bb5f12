"""What a mode brings along for the scenarios: its simulation, its read-back, and ways to damage what it rendered."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

from clew.ir.balancing import Balancing
from clew.ir.packets import Memory, Outcome, Packet, Surroundings
from clew.ir.proxying import Settings

Balancings = Mapping[tuple[str, str], Balancing]
Known = tuple[Memory, ...]


class Simulated(Protocol):
    """One node's kernel objects of one family, as rendered or as read back, and what they do to packets."""

    def outcomes(self, packet: Packet, around: Surroundings, known: Known = ()) -> frozenset[Outcome]:
        """Every outcome that a packet can have; `known`: what earlier outcomes remembered and still holds."""

    def listing(self) -> str:
        """As a page's table block of this mode shows it, ending in a newline."""

    def mutations(self) -> Iterator[tuple[str, "Simulated"]]:
        """Every rule and element left out, and altered, one at a time.

        What is there for one service has a name that begins with "element of ", and packets of its own section must
        notice; the rest (fixed rules) is named without what differs between families and settings, and of each name
        some page must notice.
        """


class ModeUnderTest(Protocol):
    @property
    def lane(self) -> Literal["kernel", "vm"]:
        """Where its packets are real: this machine's kernel, or only a guest's."""

    @property
    def idle(self) -> Mapping[tuple[str, str], str]:
        """(section or "", pattern for the start of a mutation's name): why no packet notices it."""

    def rendered(self, settings: Settings, balancings: Balancings) -> Simulated:
        """Without a kernel."""

    def read_back(self, where: Path, settings: Settings) -> Simulated:
        """What this network namespace holds now."""
