"""The port to WireGuard: a device's key, its port and its peers. Links are rtnetlink's (`Plain("wireguard")`).

Keys are text as `wg` prints them: base64 of 32 bytes. Called by dataplane/overlay.
Source: include/uapi/linux/wireguard.h.
"""

from collections.abc import Collection
from typing import Protocol

from clew.base.value import Value


class Peer(Value):
    """Another end. What is for `allowed` goes to it, and only what is from there is taken from it."""

    public_key: str
    endpoint: str  # "172.30.0.12:51820", "[fd00::12]:51820"; "" where it has not been heard of
    allowed: tuple[str, ...]  # prefixes, sorted


class Device(Value):
    public_key: str  # "" where no private one is set, which is never read back
    port: int  # UDP
    peers: tuple[Peer, ...] = ()  # by public key


class WireGuard(Protocol):
    def device(self, name: str) -> Device:
        """KernelError: ENODEV where there is no such link, EOPNOTSUPP where it or the kernel knows no WireGuard."""
        ...

    def set_up(self, name: str, private_key: str, port: int) -> None:
        """The device's own key and port; peers stay as they are."""
        ...

    def put(self, name: str, peers: Collection[Peer]) -> None:
        """Add these, or change them in place: a session that runs goes on."""
        ...

    def remove(self, name: str, public_keys: Collection[str]) -> None:
        """Forget these; one that is not there is no error."""
        ...

    def close(self) -> None: ...
