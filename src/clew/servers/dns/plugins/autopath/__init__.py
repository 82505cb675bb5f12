"""autopath: the asker's search path is walked here, not by the asker; see README.md."""

from collections.abc import Awaitable, Callable, Sequence

from clew.servers.dns import message, wire
from clew.servers.dns.arguments import file_text, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response

SearchPath = Callable[[str], Sequence[bytes]]  # an asker's address to the names appended, empty where it has none


class AutoPath(Plugin):
    """`kubernetes` is set where the path depends on the asker's pod; whoever builds the chain links the two."""

    every_query = True

    def __init__(self, names: tuple[str, ...], search: Sequence[bytes], *, by_pod: bool) -> None:
        self.zones = [wire.name_to_wire(name) for name in names]
        self.search = search
        self.by_pod = by_pod
        self.path_of: SearchPath = lambda _client: self.search

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            if query.qclass != wire.IN or not any(wire.is_below(query.lower, zone) for zone in self.zones):
                return following(query)
            path = self.path_of(query.client)
            if not path or not wire.is_below(query.lower, path[0]) or query.lower == path[0]:
                return following(query)
            return self._walk(query, path, following)

        return handle

    async def _walk(self, query: Query, path: Sequence[bytes], following: Handler) -> Response:
        """The first name of the path that exists, behind an alias from the name asked; else the first answer."""
        first = await _waited(following(query))
        if _rcode(first) != wire.NXDOMAIN:
            return first
        base = query.name[: len(query.name) - len(path[0])]
        for suffix in (*path[1:], b"\0"):
            target = base + suffix
            inner = message.ask_for(query, target, query.qtype)
            found = await _waited(following(inner))
            if _rcode(found) == wire.NOERROR:
                opened = message.opened(found, inner)
                alias = wire.TO_QUESTION + wire.body(wire.CNAME, _ttl(opened.answers), target)
                records = [target + each[2:] if each[:2] == wire.TO_QUESTION else each for each in opened.answers]
                answers = [alias, *records] if records else ()
                return Response(answers=answers, authority=opened.authority, authoritative=True, private=True)
        first.private = True
        return first


async def _waited(answer: Response | Awaitable[Response]) -> Response:
    return answer if isinstance(answer, Response) else await answer


def _rcode(response: Response) -> int:
    return response.raw[3] & 0xF if response.raw else response.rcode


def _ttl(records: Sequence[bytes]) -> int:
    """The least lifetime among records, so that the alias does not outlive what it leads to."""
    found = [
        message.record_at(b"\0" + each[2:] if each[:2] == wire.TO_QUESTION else each, 0)[0].ttl for each in records
    ]
    return min(found, default=0)


def setup(directive: Directive, site: Site, _context: Context) -> AutoPath:
    if not directive.arguments:
        raise directive.name.error("autopath needs a resolv.conf's path or @kubernetes")
    *names, source = directive.arguments
    if source.text.startswith("@"):
        if source.text != "@kubernetes":
            raise source.error(f"no plugin {source.text[1:]!r} that knows search paths", "@kubernetes is the one")
        return AutoPath(zones(names, site.zones), (), by_pod=True)
    lines = [line.split() for line in file_text(source).splitlines()]
    search = [words[1:] for words in lines if words[:1] == ["search"]]
    path = [wire.name_to_wire(each.lower()) for each in (search[-1] if search else [])]
    if not path:
        raise source.error(f"{source.text} has no search line")
    return AutoPath(zones(names, site.zones), path, by_pod=False)
