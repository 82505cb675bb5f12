"""WireGuard without a kernel: the tests' half of the port, on the links of a FakeNetlink."""

import base64
import errno
from collections.abc import Collection
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import replace

from clew.kernel.errors import KernelError
from clew.kernel.wireguard.port import Device, Peer

if TYPE_CHECKING:
    from clew.kernel.netlink import RtNetlink


def public_of(private_key: str) -> str:
    """What a private key's public one is: X25519, RFC 7748."""
    found = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key)).public_key()
    return base64.b64encode(found.public_bytes_raw()).decode()


class FakeWireGuard:
    """What a device knows goes with its link, told apart by the link's index."""

    def __init__(self, links: "RtNetlink") -> None:
        self._links = links
        self._devices: dict[int, Device] = {}

    def close(self) -> None:
        """Nothing is held."""

    def device(self, name: str) -> Device:
        return self._devices.get(self._index(name, "read"), Device("", 0))

    def set_up(self, name: str, private_key: str, port: int) -> None:
        index = self._index(name, "set up")
        self._devices[index] = replace(self.device(name), public_key=public_of(private_key), port=port)

    def put(self, name: str, peers: Collection[Peer]) -> None:
        """An address that one peer takes leaves the others, as in the kernel."""
        found = {peer.public_key: peer for peer in self.device(name).peers}
        for peer in peers:
            for key, other in found.items():
                found[key] = replace(other, allowed=tuple(a for a in other.allowed if a not in peer.allowed))
            found[peer.public_key] = replace(peer, allowed=tuple(sorted(peer.allowed)))
        self._keep(name, found)

    def remove(self, name: str, public_keys: Collection[str]) -> None:
        found = {peer.public_key: peer for peer in self.device(name).peers if peer.public_key not in public_keys}
        self._keep(name, found)

    def _keep(self, name: str, found: dict[str, Peer]) -> None:
        index = self._index(name, "change")
        self._devices[index] = replace(self.device(name), peers=tuple(found[key] for key in sorted(found)))

    def _index(self, name: str, what: str) -> int:
        link = self._links.link(name)
        if link is None:
            raise KernelError(errno.ENODEV, f"{what} {name}")
        return link.index
