"""Where a packet to the node itself ends up. Reads the rendered elements, never ir. Pure."""

import struct
from collections.abc import Mapping

from clew.base.addresses import address, family_of
from clew.base.value import Value
from clew.dataplane.hostports.objects import OWN, SELF, WHOLE, Entry
from clew.dataplane.hostports.render import NUMBERS


class Verdict(Value):
    """The pod's address and port that take the packet, and whether its source is hidden on the way there."""

    address: str
    port: int
    masqueraded: bool


def packet(
    elements: Mapping[tuple[str, bytes], Entry], source: str, destination: str, protocol: str, port: int
) -> Verdict | None:
    """A new connection to `destination`, one of the node's own addresses; None: the node itself answers."""
    if destination == "::1":
        return None
    family = family_of(destination)
    tail = struct.pack("!B3xH2x", NUMBERS[protocol], port)
    found = elements.get((OWN[family].name, address(destination).packed + tail)) or elements.get(
        (WHOLE[family].name, tail)
    )
    if found is None:
        return None
    length = 16 if family == 6 else 4
    pod, (number,) = found.value[:length], struct.unpack_from("!H", found.value, length)
    from_itself = (SELF[family].name, address(source).packed + pod) in elements
    return Verdict(str(address(_text(pod))), number, from_itself or source.startswith("127."))


def _text(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return ":".join(packed[at : at + 2].hex() for at in range(0, 16, 2))
