"""The resolver of the lab's `outside` host: it serves the names in the lab's file and refuses the rest at once."""

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clew.servers.dns.chain import link
from clew.servers.dns.plugins.hosts import Hosts, host_records
from clew.servers.dns.plugins.hosts import Options as HostsOptions
from clew.servers.dns.server import Listener, Route
from clew.servers.dns.zone import Zone

if TYPE_CHECKING:
    from clew.ir.names import Record


def names_zone(names: Mapping[str, Sequence[str]]) -> Zone:
    """Names to their addresses as a root zone; ValueError for what is no name or address."""
    zone = Zone(".", ttl=60)
    for name, addresses in names.items():
        records: list[Record] = [record for address in addresses for record in host_records(address, (name,))]
        zone.put(name, records)
    return zone


async def serve_names(
    names: Mapping[str, Sequence[str]], udp: Sequence[socket.socket], tcp: Sequence[socket.socket]
) -> Listener:
    """A listener at work on sockets bound in the outside namespace; the caller stops it."""
    handler = link([Hosts(names_zone(names), HostsOptions(fallthrough=("",)))])
    listener = Listener([Route(b"\0", handler)])
    await listener.start(udp, tcp)
    return listener
