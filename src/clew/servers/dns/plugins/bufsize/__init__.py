"""bufsize: the most bytes that an answer by UDP has, whatever the asker says it takes; see README.md."""

from clew.servers.dns.arguments import no_block, number, some_arguments
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import OUR_UDP_SIZE, Query


class BufSize(Plugin):
    def __init__(self, most: int) -> None:
        self.most = most

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            query.udp_size = min(query.udp_size, self.most)  # upstreams see the question as it came
            return following(query)

        return handle


def setup(directive: Directive, _site: Site, _context: Context) -> BufSize:
    no_block(directive)
    words = some_arguments(directive, 0, 1)
    return BufSize(number(words[0], 512, 4096) if words else OUR_UDP_SIZE)
