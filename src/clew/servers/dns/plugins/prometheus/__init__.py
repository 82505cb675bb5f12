"""prometheus: metrics under CoreDNS's names, at /metrics (default localhost:9153)."""

import asyncio

from clew import __version__
from clew.servers.dns import wire
from clew.servers.dns.arguments import listen_address, no_block
from clew.servers.dns.chain import Answer, Context, Handler, Site, then
from clew.servers.dns.corefile import Directive, Word
from clew.servers.dns.wire import Query, Response
from clew.servers.pages import Page, serve_pages


class Prometheus:
    def __init__(self, host: str | None, port: int, site: Site, context: Context) -> None:
        self.host = host
        self.port = port
        self.context = context
        self.server = site.origin
        self.zone = f"{site.zones[0]}."
        registry = context.registry
        where = ("server", "zone", "view")
        registry.gauge("coredns_build_info", "The version that runs.", ("version",)).set(1, __version__)
        self.requests = registry.counter(
            "coredns_dns_requests_total", "Queries by protocol, family and type.", (*where, "proto", "family", "type")
        )
        self.responses = registry.counter(
            "coredns_dns_responses_total", "Answers by code and plugin.", (*where, "rcode", "plugin")
        )
        self.seconds = registry.histogram(
            "coredns_dns_request_duration_seconds", "Time to the answer.", where, (0.00025, 0.001, 0.01, 0.1, 1.0)
        )

    def wrap(self, following: Handler) -> Handler:
        where = (self.server, self.zone, "")
        now = self.context.clock.monotonic

        def handle(query: Query) -> Answer:
            started = now()
            family = "2" if ":" in query.client else "1"
            kind = wire.TYPE_NAMES.get(query.qtype, "other")
            self.requests.add(*where, "tcp" if query.tcp else "udp", family, kind)

            def count(response: Response) -> Response:
                rcode = response.raw[3] & 15 if response.raw else response.rcode
                self.responses.add(*where, wire.RCODE_NAMES.get(rcode, str(rcode)), "")
                self.seconds.observe(now() - started, *where)
                return response

            return then(following(query), count)

        return handle

    async def run(self) -> None:
        def page() -> Page:
            return Page(200, self.context.registry.render())

        async with serve_pages(self.host, self.port, {"/metrics": page}):
            await asyncio.Event().wait()


def setup(directive: Directive, site: Site, context: Context) -> Prometheus:
    where = directive.arguments[0] if directive.arguments else Word("127.0.0.1:9153", directive.name.line, 1)
    no_block(directive)
    return Prometheus(*listen_address(where), site, context)
