"""rrl: so many answers of one sort a second to one network, and no more; see README.md."""

from ipaddress import ip_network

import msgspec

from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import duration, number, one_argument, unknown_property, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response

_RATES = (
    "responses-per-second",
    "nodata-per-second",
    "nxdomains-per-second",
    "errors-per-second",
    "requests-per-second",
)
_PROPERTIES = (
    "window", "ipv4-prefix-length", "ipv6-prefix-length", *_RATES, "slip-ratio", "max-table-size",
)  # fmt: skip


class Options(Value):
    zones: tuple[str, ...]
    window: float = 15.0  # seconds that an account may be in debt
    prefixes: tuple[int, int] = (24, 56)  # bits that make a network, IPv4 and IPv6
    rates: tuple[int, ...] = (0, 0, 0, 0, 0)  # as _RATES; 0: no limit
    slip: int = 2  # each n-th answer over the limit is sent cut, so that a real asker tries TCP; 0: none is
    most: int = 100_000  # accounts


class _Account(msgspec.Struct, gc=False):
    """What one network may still have of one sort; filled by time."""

    left: float
    seen: float
    slips: int = 0


class Limits(Plugin):
    every_query = True

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.clock = context.clock
        self._zones = [wire.name_to_wire(zone) for zone in options.zones]
        self._accounts: dict[tuple[str, int], _Account] = {}
        self._networks: dict[str, str] = {}
        counter = context.registry.counter
        self.exceeded = counter("coredns_rrl_responses_exceeded_total", "Answers over the limit.")
        self.refused = counter("coredns_rrl_requests_exceeded_total", "Questions over the limit.")

    def _network(self, client: str) -> str:
        found = self._networks.get(client)
        if found is None:
            if len(self._networks) >= self.options.most:
                self._networks.clear()
            bits = self.options.prefixes[":" in client]
            found = self._networks[client] = str(ip_network(f"{client.partition('%')[0]}/{bits}", strict=False))
        return found

    def _spend(self, network: str, sort: int) -> _Account | None:
        """The account where it is overdrawn; None where there was enough."""
        rate = self.options.rates[sort]
        if not rate:
            return None
        now = self.clock.monotonic()
        account = self._accounts.get((network, sort))
        if account is None:
            if len(self._accounts) >= self.options.most:
                self._accounts.clear()
            account = self._accounts[network, sort] = _Account(float(rate), now)
        account.left = min(account.left + (now - account.seen) * rate, float(rate))
        account.seen = now
        account.left = max(account.left - 1, -rate * self.options.window)
        return account if account.left < 0 else None

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            if query.tcp or not any(wire.is_below(query.lower, zone) for zone in self._zones):
                return following(query)  # who has a connection is who it says
            network = self._network(query.client)
            if self._spend(network, 4) is not None:
                self.refused.add()
                return wire.SILENCE
            return then(following(query), lambda response: self._limited(response, network))

        return handle

    def _limited(self, response: Response, network: str) -> Response:
        if response is wire.SILENCE:
            return response
        account = self._spend(network, _sort(response))
        if account is None:
            return response
        self.exceeded.add()
        account.slips += 1
        if self.options.slip and account.slips % self.options.slip == 0:
            return Response(cut=True, private=True)
        return wire.SILENCE


def _sort(response: Response) -> int:
    """Which of _RATES an answer counts in."""
    rcode = response.raw[3] & 0xF if response.raw else response.rcode
    if rcode == wire.NXDOMAIN:
        return 2
    if rcode != wire.NOERROR:
        return 3
    empty = response.raw[6:8] == b"\0\0" if response.raw else not response.answers
    return 1 if empty else 0


def setup(directive: Directive, site: Site, context: Context) -> Limits:
    fields: dict[str, object] = {}
    rates = dict.fromkeys(_RATES, 0)
    prefixes = [24, 56]
    for inner in directive.block:
        match inner.name.text:
            case name if name in _RATES:
                rates[name] = number(one_argument(inner))
            case "window":
                fields["window"] = duration(one_argument(inner))
            case "ipv4-prefix-length":
                prefixes[0] = number(one_argument(inner), 1, 32)
            case "ipv6-prefix-length":
                prefixes[1] = number(one_argument(inner), 1, 128)
            case "slip-ratio":
                fields["slip"] = number(one_argument(inner), 0, 10)
            case "max-table-size":
                fields["most"] = number(one_argument(inner), 1)
            case _:
                raise unknown_property(directive, inner, _PROPERTIES)
    for name in _RATES[1:4]:
        rates[name] = rates[name] or rates[_RATES[0]]
    fields |= {"prefixes": tuple(prefixes), "rates": tuple(rates.values())}
    options = Options(zones(directive.arguments, site.zones), **fields)  # type: ignore[arg-type]  # checked above
    return Limits(options, context)
