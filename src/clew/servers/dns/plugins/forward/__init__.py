"""forward: questions for other zones go to upstream resolvers, each with a random ID from a random port (RFC 5452)."""

from pathlib import Path

from clew.base.errors import UserError, WorldError
from clew.servers.dns import wire
from clew.servers.dns.arguments import number, one_argument
from clew.servers.dns.chain import Answer, Context, Handler, Passive, Site
from clew.servers.dns.corefile import Directive, Word
from clew.servers.dns.plugins.forward.upstream import Upstream, exchange
from clew.servers.dns.wire import Query, Response

_POLICIES = ("random", "round_robin", "sequential")


class Forward(Passive):
    def __init__(self, zone: str, upstreams: tuple[Upstream, ...], policy: str, limit: int, context: Context) -> None:
        self.zone = wire.name_to_wire(zone)
        self.upstreams = upstreams
        self.policy = policy
        self.limit = limit
        self.waiting = 0
        self.turn = 0
        self.requests = context.registry.counter(
            "coredns_forward_requests_total", "Queries sent to each upstream.", ("to",)
        )

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            return self._ask(query) if query.lower.endswith(self.zone) else following(query)

        return handle

    async def _ask(self, query: Query) -> Response:
        if self.limit and self.waiting >= self.limit:
            return Response(rcode=wire.REFUSED)
        self.waiting += 1
        try:
            failures = []
            for upstream in self._order():
                self.requests.add(str(upstream))
                try:
                    return Response(raw=await exchange(upstream, query))
                except WorldError as error:
                    failures.append(f"{upstream}: {error}")
            raise WorldError("; ".join(failures) or "no upstream is configured")
        finally:
            self.waiting -= 1

    def _order(self) -> tuple[Upstream, ...]:
        if self.policy == "sequential" or not self.upstreams:
            return self.upstreams
        self.turn += 1
        at = self.turn % len(self.upstreams)
        return (*self.upstreams[at:], *self.upstreams[:at])


def _upstreams(word: Word) -> list[Upstream]:
    if word.text.startswith("/"):
        try:
            lines = Path(word.text).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise word.error(f"cannot read {word.text}: {error.strerror}") from None
        words = [line.split() for line in lines]
        return [Upstream.parse(each[1]) for each in words if len(each) > 1 and each[0] == "nameserver"]
    try:
        return [Upstream.parse(word.text)]
    except ValueError as error:
        raise word.error(str(error), "write an address, ADDRESS:PORT, or a resolv.conf's path") from None


def setup(directive: Directive, _site: Site, context: Context) -> Forward:
    if len(directive.arguments) < 2:
        raise directive.name.error("forward takes a zone and at least one upstream", "e.g. forward . /etc/resolv.conf")
    zone, *targets = directive.arguments
    policy, limit = "random", 0
    for inner in directive.block:
        match inner.name.text:
            case "policy":
                policy = one_argument(inner).text
                if policy not in _POLICIES:
                    raise inner.arguments[0].error(f"no policy {policy!r}", ", ".join(_POLICIES))
            case "max_concurrent":
                limit = number(one_argument(inner))
            case "prefer_udp":
                pass
            case other:
                raise inner.name.error(f"forward has no property {other!r}", "policy and max_concurrent are known")
    upstreams = tuple(each for word in targets for each in _upstreams(word))
    if not upstreams:
        raise UserError(f"Corefile:{zone.line}: forward found no nameserver in {targets[0].text}", "name one there")
    return Forward(zone.text, upstreams, policy, limit, context)
