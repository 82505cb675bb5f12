"""WireGuard of the running kernel, over generic netlink: the real half of the port. Blocking."""

import errno
import threading
from collections.abc import Collection, Iterator

from clew.kernel.errors import KernelError
from clew.kernel.netns import Namespace
from clew.kernel.nfnetlink import NETLINK_GENERIC, Channel
from clew.kernel.wireguard import wire
from clew.kernel.wireguard.port import Device, Peer

MISSING = "this kernel has no WireGuard (CONFIG_WIREGUARD, module wireguard)"


class KernelWireGuard:
    """`ns`: the network namespace to work in (path or descriptor); None: the calling thread's own."""

    def __init__(self, ns: Namespace | None = None) -> None:
        self._ns = ns
        self._opened: Channel | None = None  # nobody pays for a socket who has no such device
        self._lock = threading.Lock()
        self._family = 0

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def device(self, name: str) -> Device:
        what = f"read {name}"
        with self._lock:
            return wire.read(self._channel.dump(self._kind(what), wire.GET_DEVICE, wire.named(name), what))

    def set_up(self, name: str, private_key: str, port: int) -> None:
        self._ask(wire.named(name) + wire.own(private_key, port), f"set up {name}")

    def put(self, name: str, peers: Collection[Peer]) -> None:
        for batch in _batches(list(peers)):
            self._ask(wire.named(name) + wire.peers(batch), f"enter peers of {name}")

    def remove(self, name: str, public_keys: Collection[str]) -> None:
        for batch in _batches(sorted(public_keys)):
            self._ask(wire.named(name) + wire.removals(batch), f"remove peers of {name}")

    @property
    def _channel(self) -> Channel:
        if self._opened is None:
            self._opened = Channel(self._ns, NETLINK_GENERIC)
        return self._opened

    def _ask(self, payload: bytes, what: str) -> None:
        with self._lock:
            self._channel.ask(self._kind(what), wire.SET_DEVICE, payload, what)

    def _kind(self, what: str) -> int:
        """The message type that the kernel gave to WireGuard; making a link has loaded the module."""
        self._family = self._family or self._channel.generic(wire.NAME)
        if not self._family:
            raise KernelError(errno.EOPNOTSUPP, what, detail=MISSING)
        return self._family


def _batches(everything: list) -> Iterator[list]:  # type: ignore[type-arg]  # of peers or of keys
    for start in range(0, len(everything), wire.BATCH):
        yield everything[start : start + wire.BATCH]
