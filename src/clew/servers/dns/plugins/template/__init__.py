"""template: answers made from the question by patterns; see README.md."""

import re

from clew.base.metrics import Counter
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import choice, number, one_argument, read, some_arguments, unknown_property, zones
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, chased
from clew.servers.dns.corefile import Directive, Word
from clew.servers.dns.plugins.template.expand import Data, Part, compiled
from clew.servers.dns.records import record, type_number
from clew.servers.dns.wire import Query, Response

_CLASSES = {"IN": wire.IN, "CH": wire.CHAOS, "HS": 4, "ANY": 255}
_PROPERTIES = ("match", "answer", "additional", "authority", "rcode", "ederror", "fallthrough")


class Rule(Value):
    zones: tuple[str, ...]
    qclass: int
    qtype: int
    patterns: tuple[re.Pattern[str], ...]
    sections: tuple[tuple[Part, ...], ...]  # answers, authority, additional
    rcode: int
    error: tuple[int, str] | None  # extended DNS error (RFC 8914)
    fallthrough: tuple[str, ...] | None


class Template(Plugin):
    def __init__(self, rule: Rule, site: Site, context: Context, counters: tuple[Counter, Counter]) -> None:
        self.rule = rule
        self.site = site
        self.context = context
        self.matches, self.failures = counters
        self._zones = sorted(((wire.name_to_wire(zone), zone) for zone in rule.zones), key=lambda each: -len(each[0]))
        self._falls = tuple(wire.name_to_wire(zone) for zone in rule.fallthrough or ())
        self._labels = (site.origin, site.label, "")

    def _data(self, query: Query, zone: str) -> Data | None:
        name = wire.name_to_text(query.lower)
        for pattern in self.rule.patterns:
            found = pattern.search(name)
            if found is not None:
                classes = {number: text for text, number in _CLASSES.items()}
                fields = {
                    "Zone": f"{zone}.", "Name": name, "Class": classes.get(query.qclass, "IN"),
                    "Type": wire.TYPE_NAMES.get(query.qtype, f"TYPE{query.qtype}"), "Remote": query.client,
                }  # fmt: skip
                match = [found.group(at) or "" for at in range(len(found.groups()) + 1)]
                return Data(fields, match, {key: value or "" for key, value in found.groupdict().items()})
        return None

    def wrap(self, following: Handler) -> Handler:
        rule = self.rule

        def handle(query: Query) -> Answer:
            zone = next((text for name, text in self._zones if wire.is_below(query.lower, name)), None)
            if zone is None or rule.qclass not in {255, query.qclass} or rule.qtype not in {wire.ANY, query.qtype}:
                return following(query)
            data = self._data(query, zone)
            if data is None:
                falls = any(wire.is_below(query.lower, each) for each in self._falls)
                return following(query) if falls else Response(rcode=wire.SERVFAIL)
            self.matches.add(*self._labels, data.fields["Class"], data.fields["Type"])
            return self._answer(query, data)

        return handle

    def _answer(self, query: Query, data: Data) -> Answer:
        try:
            made = [[record(part(data)) for part in parts] for parts in self.rule.sections]
        except (ValueError, IndexError) as wrong:
            self.failures.add(*self._labels, data.fields["Class"], data.fields["Type"])
            self.context.say(f"[ERROR] plugin/template: {wrong}")
            return Response(rcode=wire.SERVFAIL)
        answers, authority, additional = made
        response = Response(self.rule.rcode, answers, authority, additional, authoritative=True, error=self.rule.error)
        response.chase = _alias(answers, query)
        return chased(query, response, lambda inner: self.context.ask(self.site.port, inner))


def _alias(answers: list[bytes], query: Query) -> bytes:
    """Where a lone alias leads that answers a question for another type."""
    if len(answers) != 1 or query.qtype in {wire.CNAME, wire.ANY}:
        return b""
    end = wire.skip_name(answers[0], 0)
    return answers[0][end + 10 :] if answers[0][end : end + 2] == wire.CNAME.to_bytes(2) else b""


def _error(inner: Directive) -> tuple[int, str]:
    code, *reason = some_arguments(inner, 1, 2)
    return number(code, 0, 65535), "".join(word.text for word in reason)


def _rcode(word: Word) -> int:
    names = {name: code for code, name in wire.RCODE_NAMES.items()}
    return names[choice(word, *names)]


def _pattern(word: Word) -> re.Pattern[str]:
    try:
        return re.compile(word.text)
    except re.error as wrong:
        raise word.error(f"not a pattern: {wrong}") from None


def _rule(directive: Directive, site: Site) -> Rule:
    qclass, qtype, *names = some_arguments(directive, 2)
    patterns: list[re.Pattern[str]] = []
    parts: dict[str, list[Part]] = {"answer": [], "authority": [], "additional": []}
    rcode, error, fall = wire.NOERROR, None, None
    for inner in directive.block:
        match inner.name.text:
            case "match":
                patterns += map(_pattern, some_arguments(inner))
            case "answer" | "authority" | "additional" as section:
                parts[section] += [read(word, compiled) for word in some_arguments(inner)]
            case "rcode":
                rcode = _rcode(one_argument(inner))
            case "ederror":
                error = _error(inner)
            case "fallthrough":
                fall = zones(inner.arguments, ("",))
            case _:
                raise unknown_property(directive, inner, _PROPERTIES)
    return Rule(
        zones(names, site.zones), _CLASSES[choice(qclass, *_CLASSES)], read(qtype, type_number),
        tuple(patterns) or (re.compile(""),), tuple(map(tuple, parts.values())), rcode, error, fall,
    )  # fmt: skip


def setup(directive: Directive, site: Site, context: Context) -> Template:
    labels = ("server", "zone", "view", "class", "type")
    counters = (
        context.registry.counter("coredns_template_matches_total", "Questions that a template answered.", labels),
        context.registry.counter("coredns_template_rr_failures_total", "Templates that made no record.", labels),
    )
    return Template(_rule(directive, site), site, context, counters)
