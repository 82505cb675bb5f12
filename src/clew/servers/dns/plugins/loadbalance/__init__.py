"""loadbalance: address records of an answer are put in another order each time; see README.md."""

import random
from collections.abc import Sequence

from clew.servers.dns import message, wire
from clew.servers.dns.arguments import choice, no_block, some_arguments
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site, then
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response, WireError

_MIXED = frozenset(kind.to_bytes(2) for kind in (wire.A, wire.AAAA, wire.MX))


def mixed(answers: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """What stays in front (an alias, before what it leads to), and address and mail records in a new order."""
    kinds = [each[2:4] if each[:2] == wire.TO_QUESTION else _kind(each) for each in answers]
    rest = [each for each, kind in zip(answers, kinds, strict=True) if kind not in _MIXED]
    moving = [each for each, kind in zip(answers, kinds, strict=True) if kind in _MIXED]
    return rest, random.sample(moving, len(moving))


def _kind(record: bytes) -> bytes:
    end = wire.skip_name(record, 0)
    return record[end : end + 2]


class LoadBalance(Plugin):
    def wrap(self, following: Handler) -> Handler:
        def handle(query: Query) -> Answer:
            answer = following(query)
            if query.qtype not in {wire.A, wire.AAAA, wire.MX}:
                return answer
            return then(answer, lambda response: _mix(response, query))

        return handle


def _mix(response: Response, query: Query) -> Response:
    if response.raw and response.raw[6:8] > b"\0\1" and not query.dnssec_ok:
        try:
            response = message.opened(response, query)
        except WireError:
            return response
    if len(response.answers) > 1:
        front, moved = mixed(response.answers)
        response.answers, response.mixed = [*front, *moved], frozenset(moved)
    return response


def setup(directive: Directive, _site: Site, _context: Context) -> LoadBalance:
    for word in some_arguments(directive, 0, 1):
        choice(word, "round_robin")
    no_block(directive)
    return LoadBalance()
