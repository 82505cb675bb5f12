"""prometheus: metrics under CoreDNS's names, at /metrics; see README.md.

What a query counts for hangs on a few facts about it, so it is counted in a tally for exactly those, one addition a
query; the metrics are made of the tallies when somebody reads them.
"""

from bisect import bisect_left

from clew import __version__
from clew.servers.dns import wire
from clew.servers.dns.arguments import address_argument, no_block
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response
from clew.servers.pages import METRICS, Page

_SECONDS = tuple(0.00025 * 2**step for step in range(16))
_BYTES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)

_MOST_KINDS = 4096  # told apart by exact sizes; who asks names of all lengths cannot make more

Kind = tuple[str, str, str, str, bool, int, int]  # protocol, family, type, rcode, DO, bytes asked, bytes answered


def _rounded(size: int) -> int:
    """The bound of the bucket that a size falls in."""
    return _BYTES[min(bisect_left(_BYTES, size), len(_BYTES) - 1)]


class Prometheus(Plugin):
    def __init__(self, site: Site, context: Context) -> None:
        self.context = context
        self.where = (site.origin, site.label, "")
        self._tallies: dict[Kind, wire.Tally] = {}
        registry = context.registry
        where = ("server", "zone", "view")
        registry.gauge("coredns_build_info", "The version that runs.", ("version", "revision", "goversion")).set(
            1, __version__, "", ""
        )
        self.requests = registry.counter(
            "coredns_dns_requests_total", "Queries by protocol, family and type.", (*where, "proto", "family", "type")
        )
        self.responses = registry.counter(
            "coredns_dns_responses_total", "Answers by code and plugin.", (*where, "rcode", "plugin")
        )
        self.signed = registry.counter("coredns_dns_do_requests_total", "Queries that want DNSSEC.", where)
        self.seconds = registry.histogram(
            "coredns_dns_request_duration_seconds", "Time to the answer.", where, _SECONDS
        )
        self.asked = registry.histogram(
            "coredns_dns_request_size_bytes", "Bytes of queries.", (*where, "proto"), _BYTES
        )
        self.answered = registry.histogram(
            "coredns_dns_response_size_bytes", "Bytes of answers.", (*where, "proto"), _BYTES
        )
        registry.gauge("coredns_plugin_enabled", "Plugins at work.", (*where, "name")).set(1, *self.where, "prometheus")
        context.refreshes.append(self._drain)

    def tally(self, query: Query, answer: bytes) -> wire.Tally:
        """Where this query counts, and all that are just like it."""
        rcode = answer[3] & 0xF
        kind = (
            "tcp" if query.tcp else "udp", "2" if ":" in query.client else "1",
            wire.TYPE_NAMES.get(query.qtype, "other"), wire.RCODE_NAMES.get(rcode, str(rcode)),
            query.dnssec_ok, len(query.raw), len(answer),
        )  # fmt: skip
        tally = self._tallies.get(kind)
        if tally is None:
            if len(self._tallies) >= _MOST_KINDS:
                kind = (*kind[:5], _rounded(kind[5]), _rounded(kind[6]))
            tally = self._tallies.setdefault(kind, wire.Tally())
        return tally

    def _drain(self) -> None:
        for (proto, family, kind, rcode, signed, asked, answered), tally in self._tallies.items():
            quick, count = tally.quick, tally.slow + tally.quick
            tally.slow = tally.quick = 0
            if not count:
                continue
            self.requests.add(*self.where, proto, family, kind, by=count)
            self.responses.add(*self.where, rcode, "", by=count)
            if signed:
                self.signed.add(*self.where, by=count)
            self.asked.observe(asked, *self.where, proto, times=count)
            self.answered.observe(answered, *self.where, proto, times=count)
            if quick:
                self.seconds.observe(self.context.quick_seconds, *self.where, times=quick)

    def wrap(self, following: Handler) -> Handler:
        now = self.context.clock.monotonic

        def handle(query: Query) -> Answer:
            started = now()

            def count(response: Response) -> Response:
                if response is not wire.SILENCE:
                    response.count = self.tally
                    self.seconds.observe(now() - started, *self.where)
                return response

            return then(following(query), count)

        return handle

    def page(self) -> Page:
        return Page(self.context.metrics().encode(), content_type=METRICS)


def setup(directive: Directive, site: Site, context: Context) -> Prometheus:
    no_block(directive)
    plugin = Prometheus(site, context)
    context.page(address_argument(directive, "localhost:9153"), "/metrics", plugin.page)
    return plugin
