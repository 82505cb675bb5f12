"""errors: a failure in the chain is written to the log and answered with SERVFAIL."""

from clew.base.errors import WorldError
from clew.servers.dns import wire
from clew.servers.dns.arguments import no_arguments
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response


class Errors(Passive):
    def __init__(self, context: Context) -> None:
        self.context = context

    def wrap(self, following: Handler) -> Handler:
        async def later(query: Query, answer: Answer) -> Response:
            try:
                return answer if isinstance(answer, Response) else await answer
            except WorldError as error:
                kind = wire.TYPE_NAMES.get(query.qtype, str(query.qtype))
                self.context.say(f"[ERROR] plugin/errors: 2 {wire.name_to_text(query.name)} {kind}: {error}")
                return Response(rcode=wire.SERVFAIL)

        def handle(query: Query) -> Answer:
            answer = following(query)
            return answer if isinstance(answer, Response) else later(query, answer)

        return handle


def setup(directive: Directive, _site: Site, context: Context) -> Errors:
    no_arguments(directive)
    return Errors(context)
