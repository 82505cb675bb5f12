"""The one table of packet-mark bits that Clew uses. Every other bit of a packet's mark belongs to the user.

Whoever sets a bit keeps the others (`mark | bit`, `mark & ~bit`); a new bit is allotted here and nowhere else.
"""

from clew.base.value import Value


class MarkBits(Value):
    name: str
    mask: int
    meaning: str


MASQUERADE = MarkBits(
    "masquerade",
    0x0000_4000,  # kube-proxy's default too, so that rules which others wrote for it keep their meaning
    "set where a packet's way is chosen, read and cleared in postrouting: leave with the node's own address",
)

REFUSED = MarkBits(
    "refused",
    0x0000_2000,
    "set by eBPF on arrival, read by its tables in nftables: nobody serves what the packet asks for",
)
