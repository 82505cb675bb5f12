"""The first packet of a connection, and what becomes of it: the words in which simulations of all modes answer.

Every `dataplane/*/simulate` of services speaks them, so that every scenario asks all modes one question. A mode may
know more of an outcome in a class of its own; these fields mean the same everywhere.
"""

from typing import Literal

from clew.base.value import Value

End = Literal["goes on", "dropped", "refused by reset", "refused by icmp"]
Memory = tuple[str | int, ...]  # one thing that the node will remember of a client; its shape is the mode's own


class Packet(Value):
    """`interface`: where it comes in; "" where it is sent by the node itself, or nobody asks."""

    source: str
    destination: str
    protocol: Literal["TCP", "UDP", "SCTP"]
    port: int
    mark: int = 0
    interface: str = ""


class Surroundings(Value):
    """What decides beside the rules: the node's own addresses, and where the packet comes from."""

    addresses: frozenset[str]
    from_here: bool = False  # sent by a process of the node itself


class Outcome(Value):
    """Where the packet ends, as whom the server sees the client, and what the node keeps in mind.

    `masqueraded`: the server sees an address of the node. `mark`: as the packet leaves, for the user's bits in it.
    """

    end: End
    destination: str
    port: int
    masqueraded: bool = False
    mark: int = 0
    remembered: tuple[Memory, ...] = ()
