"""whoami: the asker's own address, port and protocol; see README.md."""

from ipaddress import ip_address

from clew.servers.dns import wire
from clew.servers.dns.arguments import no_arguments, no_block
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response


class WhoAmI(Plugin):
    every_query = True

    def wrap(self, following: Handler) -> Handler:  # noqa: ARG002 - the end of every chain that it stands in
        def handle(query: Query) -> Answer:
            ip = ip_address(query.client.partition("%")[0] or "::")
            kind = wire.A if ip.version == 4 else wire.AAAA
            address = wire.TO_QUESTION + wire.body(kind, 0, ip.packed)
            protocol = b"\4_tcp" if query.tcp else b"\4_udp"
            port = wire.body(wire.SRV, 0, b"\0\0\0\0" + query.client_port.to_bytes(2) + b"\0")
            owner = protocol + query.name
            return Response(additional=(address, owner + port), authoritative=True, private=True)

        return handle


def setup(directive: Directive, _site: Site, _context: Context) -> WhoAmI:
    no_arguments(directive)
    no_block(directive)
    return WhoAmI()
