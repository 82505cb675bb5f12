"""The node's attachments: chosen addresses, promised on disk before anything else, listed in a table for the network.

`table` holds what should be connected, and node/podnet.py writes it too. Reservations outlive it, since an address is
free again only when its link is gone and the journal says so. On the event loop's thread; called by node/cni_calls.py.
"""

from collections.abc import Collection, Iterable

from clew.base.errors import WorldError
from clew.base.value import Value
from clew.compile import ipam
from clew.compile.ipam import Pool
from clew.facts.attachment import Attachment, Linking, PodRef, PortMapping
from clew.node.journal import Journal, Record
from clew.store.table import Table

Key = tuple[str, str]


class TakenError(Exception):
    """The container has an attachment by this interface name already."""


class PortTakenError(Exception):
    """Another pod of this node has the host port, or this one asks for it twice; the text says so."""


class Wish(Value):
    """What a runtime asks for."""

    container: str
    ifname: str
    network: str
    netns: str
    mtu: int
    pod: PodRef = PodRef()
    ips: tuple[str, ...] = ()  # bare; the runtime's own choice for the family of each
    ports: tuple[PortMapping, ...] = ()
    mac: str = ""
    linking: Linking = "bridge"

    @property
    def key(self) -> Key:
        return self.container, self.ifname


class Attachments:
    """`table` is what the network connects; it is complete as soon as this object exists, and no API is asked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reserved = dict(journal.state.attachments)
        self._last: tuple[str, ...] = journal.state.last
        self.table: Table[Attachment] = Table("attachments")
        self.table.replace(dict(self._reserved))

    def get(self, key: Key) -> Attachment | None:
        """Promised and not yet released, whether or not it is (still, or already) connected."""
        return self._reserved.get(key)

    def promised(self) -> Collection[Key]:
        """Every attachment that has not been released."""
        return self._reserved.keys()

    def addresses(self) -> Iterable[str]:
        """Every promised address, with its prefix length."""
        return (address for attachment in self._reserved.values() for address in attachment.addresses)

    async def reserve(self, wish: Wish, pools: Iterable[Pool]) -> Attachment:
        """An address of each pool, on disk when this returns.

        TakenError, PortTakenError, ipam.ExhaustedError, ipam.UnsuitableError, WorldError.
        """
        if wish.key in self._reserved:
            raise TakenError
        self._refuse_taken_ports(wish)
        pools = tuple(pools)
        taken = {address.partition("/")[0] for address in self.addresses()}
        previous = {":" in address: address for address in self._last}
        fixed = ipam.fixed(wish.ips, pools, taken)
        chosen = tuple(
            (pool, fixed.get(pool) or ipam.choose(pool, taken, previous.get(pool.network.version == 6, "")))
            for pool in pools
        )
        addresses = tuple(pool.with_length(address) for pool, address in chosen)
        attachment = Attachment(
            wish.container,
            wish.ifname,
            wish.network,
            wish.netns,
            addresses,
            wish.mtu,
            wish.pod,
            wish.ports,
            wish.mac,
            wish.linking,
        )
        self._reserved[wish.key] = attachment
        given = {":" in address: address for pool, address in chosen if pool not in fixed}
        self._last = tuple({**previous, **given}.values())
        try:
            await self._journal.append(Record("put", attachment))
        except WorldError:  # not even the disk knows of it
            del self._reserved[wish.key]
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
