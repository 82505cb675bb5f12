"""loadbalance: address records of an answer are rotated, so that askers who take the first spread."""

from clew.servers.dns.arguments import no_block
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import AAAA, A, Query, Response


class LoadBalance(Passive):
    def __init__(self) -> None:
        self.turn = 0

    def wrap(self, following: Handler) -> Handler:
        def rotate(response: Response) -> Response:
            answers = response.answers
            if len(answers) > 1:
                self.turn += 1
                at = self.turn % len(answers)
                response.answers = [*answers[at:], *answers[:at]]
            return response

        def handle(query: Query) -> Answer:
            answer = following(query)
            return then(answer, rotate) if query.qtype in {A, AAAA} else answer

        return handle


def setup(directive: Directive, _site: Site, _context: Context) -> LoadBalance:
    for word in directive.arguments:
        if word.text != "round_robin":
            raise word.error(f"no policy {word.text!r}", "round_robin is the policy there is")
    no_block(directive)
    return LoadBalance()
