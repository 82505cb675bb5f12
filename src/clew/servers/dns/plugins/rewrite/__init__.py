"""rewrite: questions are asked under another name, type or class, and answered under their own; see README.md."""

import struct
from collections.abc import Callable
from ipaddress import ip_address

from clew.servers.dns import wire
from clew.servers.dns.arguments import choice, nearest, number, read, some_arguments
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive, Word
from clew.servers.dns.plugins.rewrite.rules import (
    Back,
    ClassRule,
    EdnsRule,
    Match,
    NameRule,
    Rule,
    TtlRule,
    TypeRule,
    client_subnet,
    matcher,
    undone,
)
from clew.servers.dns.records import type_number
from clew.servers.dns.wire import Query, Response, WireError

_HOW = ("exact", "prefix", "suffix", "substring", "regex")
_FIELDS = ("name", "type", "class", "edns0", "ttl")
_CLASSES = {"IN": wire.IN, "CH": wire.CHAOS, "HS": 4}
_NSID, _SUBNET = 3, 8
_MOST_TTL = 2**31 - 1


class Rewrite(Plugin):
    def __init__(self, rules: tuple[tuple[Rule, bool], ...]) -> None:
        self.rules = rules  # and whether the next one is tried after it

    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            inner, backs, touched = query, [], False
            for rule, goes_on in self.rules:
                try:
                    made = rule.apply(inner)
                except ValueError:
                    return Response(rcode=wire.SERVFAIL)  # what came out is no domain name
                if made is None:
                    continue
                touched = True
                inner, back = made
                backs += [back] if back else []
                if not goes_on:
                    break
            if not touched:
                return following(query)
            return then(following(inner), lambda response: _back(response, query, inner, backs))

        return handle


def _back(response: Response, query: Query, inner: Query, backs: list[Back]) -> Response:
    try:
        return undone(response, query, inner, backs)
    except (WireError, ValueError, struct.error):
        return Response(rcode=wire.SERVFAIL)


def _answers(words: list[Word]) -> tuple[tuple[Match, ...], tuple[Match, ...], bool]:
    """What stands behind a name rule: `answer auto`, `answer name FROM TO`, `answer value FROM TO`, any number."""
    names: list[Match] = []
    values: list[Match] = []
    auto = False
    while words:
        answer = words.pop(0)
        choice(answer, "answer")
        if not words:
            raise answer.error("answer stands alone", "write answer auto, answer name FROM TO or answer value FROM TO")
        what = words.pop(0)
        if choice(what, "auto", "name", "value") == "auto":
            auto = True
            continue
        if len(words) < 2:
            raise what.error(f"answer {what.text} needs a pattern and what to put in its place")
        pattern, new = words.pop(0), words.pop(0)
        match = read(pattern, lambda text, new=new: matcher("regex", text, new.text))  # type: ignore[misc]
        (names if what.text == "name" else values).append(match)
    return tuple(names), tuple(values), auto


def _matcher(words: list[Word], least: int) -> tuple[str, list[Word]]:
    """How to match, and the words behind; exact where nothing is said."""
    if words and words[0].text in _HOW and len(words) > least:
        return words[0].text, words[1:]
    return "exact", words


def _name(field: Word, words: list[Word], more: list[Word]) -> Rule:
    how, rest = _matcher(words, 2)
    if len(rest) < 2:
        raise field.error("name needs what to match and what to put in its place")
    old, new, *answers = rest
    match = read(old, lambda text: matcher(how, text, new.text))
    return NameRule(match, *_answers([*answers, *more]))


def _ttl(field: Word, words: list[Word]) -> Rule:
    how, rest = _matcher(words, 2)
    if len(rest) != 2:
        raise field.error("ttl needs what to match and seconds")
    least, dash, most = rest[1].text.partition("-")
    limits = [int(part) if part.isdecimal() else None for part in (least, most)]
    if not dash:
        limits = [number(rest[1])] * 2
    elif (least and limits[0] is None) or (most and limits[1] is None):
        raise rest[1].error(f"{rest[1].text!r} is no range of seconds", "write 30, 30-, -300 or 30-300")
    low, high = limits
    match = read(rest[0], lambda text: matcher(how, text, "" if how == "regex" else text))
    return TtlRule(match, low or 0, _MOST_TTL if high is None else high)


def _edns(field: Word, words: list[Word]) -> Rule:
    if len(words) < 2:
        raise field.error("edns0 needs local, nsid or subnet, and set, append or replace")
    sort, action, *rest = words
    kind, how = choice(sort, "local", "nsid", "subnet"), choice(action, "set", "append", "replace")
    if kind == "nsid":
        return EdnsRule(how, _NSID, lambda _query: b"")
    if len(rest) < 2:
        raise action.error(f"{kind} needs two values")
    if kind == "subnet":
        return EdnsRule(how, _SUBNET, client_subnet(number(rest[0], 0, 32), number(rest[1], 0, 128)))
    code = read(rest[0], lambda text: int(text, 0), "a code such as 0xffee")
    return EdnsRule(how, code, _value(rest[1]))


_VARIABLES: dict[str, Callable[[Query], bytes]] = {
    "{qname}": lambda query: wire.name_to_text(query.name).encode(),
    "{qtype}": lambda query: query.qtype.to_bytes(2),
    "{client_ip}": lambda query: ip_address(query.client.partition("%")[0]).packed,
    "{client_port}": lambda query: query.client_port.to_bytes(2),
    "{protocol}": lambda query: b"tcp" if query.tcp else b"udp",
}


def _value(word: Word) -> Callable[[Query], bytes]:
    """A local option's data: text, hex digits behind 0x, or a variable."""
    if word.text in _VARIABLES:
        return _VARIABLES[word.text]
    if word.text.startswith("{"):
        raise word.error(f"no variable {word.text}", nearest(word.text, tuple(_VARIABLES)))
    data = read(word, lambda text: bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode())
    return lambda _query: data


def _pair(field: Word, words: list[Word]) -> list[Word]:
    if len(words) != 2:
        raise field.error(f"{field.text} needs the old and the new one")
    return words


def _class(word: Word) -> int:
    return _CLASSES[choice(word, *_CLASSES)]


def _rule(words: list[Word], more: list[Word]) -> Rule:
    field, *rest = words
    match choice(field, *_FIELDS):
        case "name":
            return _name(field, rest, more)
        case "ttl":
            return _ttl(field, rest)
        case "edns0":
            return _edns(field, rest)
        case "type":
            old, new = _pair(field, rest)
            return TypeRule(read(old, type_number), read(new, type_number))
        case _:
            old, new = _pair(field, rest)
            return ClassRule(_class(old), _class(new))


def _directive(one: Directive) -> tuple[Rule, bool]:
    words = list(one.arguments)
    goes_on = False
    if words and words[0].text in {"continue", "stop"}:
        goes_on = words.pop(0).text == "continue"
    if one.block:
        first, *others = one.block
        if words:
            raise words[0].error("a rule stands on the line or in the block, not in both")
        words = [first.name, *first.arguments]
        return _rule(words, [word for other in others for word in (other.name, *other.arguments)]), goes_on
    if not words:
        some_arguments(one, 3)
    return _rule(words, []), goes_on


def setup(directive: Directive, _site: Site, _context: Context) -> Rewrite:
    return Rewrite(tuple(_directive(one) for one in directive.block))
