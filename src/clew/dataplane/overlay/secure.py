"""The ends of encrypted tunnels made as wanted: the device's key and its peers. Blocking; called by apply.py only.

The private key comes from whoever keeps it (app/agent.py) and goes into the kernel; it is never read back, compared by
its public half, and in no message.
"""

from collections.abc import Callable, Iterable

from clew.dataplane.overlay.objects import WIREGUARD, SecurePeer, TunnelLink
from clew.kernel.errors import KernelError
from clew.kernel.wireguard import Peer, WireGuard
from clew.reconcile import DeltaMap


class SecureEnds:
    """The peers of one node's WireGuard device."""

    def __init__(self, wireguard: WireGuard, private_key: Callable[[], str]) -> None:
        self.wireguard = wireguard
        self._private_key = private_key
        self._peers: DeltaMap[str, SecurePeer] = DeltaMap()

    def __bool__(self) -> bool:
        """Whether there is something to do."""
        return bool(self._peers)

    def want(self, peers: Iterable[SecurePeer]) -> None:
        self._peers.want_whole({peer.key: peer for peer in peers})

    def read(self, *, there: bool) -> None:
        """`there`: the device exists."""
        found = self.wireguard.device(WIREGUARD).peers if there else ()
        self._peers.found_whole(
            {peer.public_key: SecurePeer(WIREGUARD, peer.public_key, peer.endpoint, peer.allowed) for peer in found}
        )

    def forget(self) -> None:
        """The device is gone or new."""
        self._peers.found_whole({})

    def set_up(self, link: TunnelLink) -> None:
        self.wireguard.set_up(link.name, self._private_key(), link.port)

    def make(self) -> dict[str, KernelError]:
        """Removals first: an address belongs to one peer."""
        gone, wanted = sorted(self._peers.deletions), dict(self._peers.updates)
        try:
            if gone:
                self.wireguard.remove(WIREGUARD, gone)
            if wanted:
                self.wireguard.put(WIREGUARD, [Peer(each.key, each.endpoint, each.allowed) for each in wanted.values()])
        except KernelError as refusal:
            return {f"{WIREGUARD} peers": refusal}
        for key in (*gone, *wanted):
            self._peers.done(key)
        return {}
