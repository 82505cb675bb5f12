"""The node's attachments: chosen addresses, promised on disk before anything else, listed in a table for the network.

`table` holds what should be connected, and node/podnet.py writes it too. Reservations outlive it, since an address is
free again only when its link is gone and the journal says so. On the event loop's thread; called by node/cni_calls.py.
"""

import asyncio
from collections.abc import Collection, Iterable

from clew.base.errors import WorldError
from clew.facts.attachment import Attachment
from clew.node.ipam.port import Ipam, Promised
from clew.node.ipam.wish import Wish
from clew.node.journal import Journal, Record
from clew.store.table import Table

Key = tuple[str, str]


class TakenError(Exception):
    """The container has an attachment by this interface name already."""


class PortTakenError(Exception):
    """Another pod of this node has the host port, or this one asks for it twice; the text says so."""


class Attachments:
    """`table` is what the network connects; it is complete as soon as this object exists, and no API is asked."""

    def __init__(self, journal: Journal, ipam: Ipam) -> None:
        self._journal = journal
        self._ipam = ipam
        self._reserved = dict(journal.state.attachments)
        self._choosing: dict[Key, Wish] = {}
        self._one_chooses = asyncio.Lock()
        self.last: tuple[str, ...] = journal.state.last
        self.table: Table[Attachment] = Table("attachments")
        self.table.replace(dict(self._reserved))

    def get(self, key: Key) -> Attachment | None:
        """Promised and not yet released, whether or not it is (still, or already) connected."""
        return self._reserved.get(key)

    def attached(self) -> Collection[Key]:
        """Every attachment that has not been released."""
        return self._reserved.keys()

    def promised(self) -> Promised:
        """By handle, the pod and its bare addresses; none yet for what is being chosen for."""
        choosing = {_handle(key): (str(wish.pod), ()) for key, wish in self._choosing.items()}
        return choosing | {
            _handle(key): (str(each.pod), tuple(address.partition("/")[0] for address in each.addresses))
            for key, each in self._reserved.items()
        }

    def addresses(self) -> Iterable[str]:
        """Every promised address, with its prefix length."""
        return (address for attachment in self._reserved.values() for address in attachment.addresses)

    async def reserve(self, wish: Wish) -> Attachment:
        """Its addresses, on disk when this returns.

        TakenError, PortTakenError, ipam.ExhaustedError, ipam.UnsuitableError, WorldError.
        """
        async with self._one_chooses:
            if wish.key in self._reserved:
                raise TakenError
            self._refuse_taken_ports(wish)
            self._choosing[wish.key] = wish
            try:
                attachment = _attachment(wish, await self._ipam.choose(wish, self))
                self._reserved[wish.key] = attachment
            finally:
                del self._choosing[wish.key]
            given = [address.partition("/")[0] for address in attachment.addresses]
            remembered = {":" in address: address for address in (*self.last, *given) if address not in wish.ips}
            self.last = tuple(remembered.values())
        try:
            await self._journal.append(Record("put", attachment))
        except WorldError:  # not even the disk knows of it
            del self._reserved[wish.key]
            self._ipam.freed()
            raise
        return attachment

    def _refuse_taken_ports(self, wish: Wish) -> None:
        for place, mapping in enumerate(wish.ports):
            if any(mapping.clashes(earlier) for earlier in wish.ports[:place]):
                raise PortTakenError(f"host port {mapping} is asked for twice")
            for other in self._reserved.values():
                if any(mapping.clashes(theirs) for theirs in other.ports):
                    raise PortTakenError(f"host port {mapping} belongs to {other.origin}")

    async def release(self, key: Key) -> None:
        """Its link is gone: the addresses are free when the journal says so."""
        if key in self._reserved:
            await self._journal.append(Record("drop", key=key))
            self._reserved.pop(key, None)
            self._ipam.freed()


def _attachment(wish: Wish, addresses: tuple[str, ...]) -> Attachment:
    return Attachment(
        wish.container, wish.ifname, wish.network, wish.netns, addresses, wish.mtu, wish.pod, wish.ports, wish.mac,
        wish.linking, wish.bandwidth,
    )  # fmt: skip


def _handle(key: Key) -> str:
    """The attachment's name in an IPAMBlock."""
    return "/".join(key)
