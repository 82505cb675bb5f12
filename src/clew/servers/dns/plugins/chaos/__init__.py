"""chaos: who runs here, to questions of class CH for version.bind and its like; see README.md."""

import socket

from clew import __version__
from clew.servers.dns import wire
from clew.servers.dns.arguments import no_block
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response


def _text(text: str) -> bytes:
    data = text.encode()[:255]
    return wire.TO_QUESTION + wire.body(wire.TXT, 0, bytes((len(data),)) + data, qclass=wire.CHAOS)


class Chaos(Plugin):
    def __init__(self, version: str, authors: tuple[str, ...]) -> None:
        self.texts = {
            "version.bind": (version,), "version.server": (version,), "authors.bind": authors,
            "hostname.bind": (socket.gethostname(),), "id.server": (socket.gethostname(),),
        }  # fmt: skip
        self._names = {wire.name_to_wire(name): texts for name, texts in self.texts.items()}

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            texts = self._names.get(query.lower)
            if query.qclass != wire.CHAOS or query.qtype != wire.TXT or texts is None:
                return following(query)
            return Response(answers=[_text(text) for text in texts], authoritative=True, private=True)

        return handle


def setup(directive: Directive, _site: Site, _context: Context) -> Chaos:
    no_block(directive)
    version, *authors = [word.text for word in directive.arguments] or [f"Clew-{__version__}"]
    return Chaos(version, tuple(authors))
