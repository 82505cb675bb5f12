"""log: one line a query, in CoreDNS's common format."""

from clew.servers.dns import wire
from clew.servers.dns.arguments import no_block
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response


class Log(Passive):
    def __init__(self, context: Context) -> None:
        self.context = context

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            started = self.context.clock.monotonic()

            def write(response: Response) -> Response:
                took = self.context.clock.monotonic() - started
                rcode = response.raw[3] & 15 if response.raw else response.rcode
                kind = wire.TYPE_NAMES.get(query.qtype, f"TYPE{query.qtype}")
                protocol = "tcp" if query.tcp else "udp"
                name = wire.name_to_text(query.name)
                self.context.say(
                    f'[INFO] {query.client} - {query.id} "{kind} IN {name} {protocol} {len(query.raw)} '
                    f'{str(query.dnssec_ok).lower()} {query.room}" {wire.RCODE_NAMES.get(rcode, rcode)} {took:.6f}s'
                )
                return response

            return then(following(query), write)

        return handle


def setup(directive: Directive, _site: Site, context: Context) -> Log:
    no_block(directive)
    return Log(context)
