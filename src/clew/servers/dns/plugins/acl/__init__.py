"""acl: who may ask what, by the asker's address; see README.md."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import nearest, read, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.records import type_number
from clew.servers.dns.wire import Query, Response

_ACTIONS = ("allow", "block", "filter", "drop")


class Rule(Value):
    zones: tuple[bytes, ...]
    action: str
    types: frozenset[int]  # empty: all
    networks: tuple[IPv4Network | IPv6Network, ...]  # empty: everybody


class Acl(Plugin):
    every_query = True

    def __init__(self, rules: tuple[Rule, ...], site: Site, context: Context) -> None:
        self.rules = rules
        self.site = site
        count = context.registry.counter
        where = ("server", "zone", "view")
        self.counts = {
            action: count(f"coredns_acl_{past}_requests_total", f"Queries {past}.", where)
            for action, past in (
                ("allow", "allowed"), ("block", "blocked"), ("filter", "filtered"), ("drop", "dropped"),
            )
        }  # fmt: skip

    def _action(self, query: Query) -> str:
        client = ip_address(query.client.partition("%")[0]) if query.client else None
        for rule in self.rules:
            if not any(wire.is_below(query.lower, zone) for zone in rule.zones):
                continue
            if rule.types and query.qtype not in rule.types:
                continue
            if not rule.networks or (client and any(client in network for network in rule.networks)):
                return rule.action
        return "allow"

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            action = self._action(query)
            self.counts[action].add(self.site.origin, self.site.label, "")
            match action:
                case "block":
                    return Response(rcode=wire.REFUSED)
                case "filter":
                    return Response()
                case "drop":
                    return wire.SILENCE
            return following(query)

        return handle


def _rule(inner: Directive, names: tuple[bytes, ...]) -> Rule:
    if inner.name.text not in _ACTIONS:
        raise inner.name.error(f"acl has no action {inner.name.text!r}", nearest(inner.name.text, _ACTIONS))
    types: set[int] = set()
    networks: list[IPv4Network | IPv6Network] = []
    reading = ""
    for word in inner.arguments:
        if word.text in {"type", "net"}:
            reading = word.text
        elif not reading:
            raise word.error(f"unexpected {word.text!r}", "write type QTYPE... or net SOURCE...")
        elif word.text == "*":
            continue
        elif reading == "type":
            types.add(read(word, type_number))
        else:
            networks.append(read(word, ip_network, "an address or a range such as 10.0.0.0/8"))
    return Rule(names, inner.name.text, frozenset(types), tuple(networks))


def setup(directive: Directive, site: Site, context: Context) -> Acl:
    rules: list[Rule] = []
    for one in directive.block:
        names = tuple(wire.name_to_wire(zone) for zone in zones(one.arguments, site.zones))
        rules += [_rule(inner, names) for inner in one.block]
    return Acl(tuple(rules), site, context)
