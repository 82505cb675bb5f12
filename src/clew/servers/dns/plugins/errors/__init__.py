"""errors: a failure in the chain is written to the log and answered with SERVFAIL; see README.md."""

import re

from clew.base.errors import WorldError
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import duration, no_arguments, some_arguments, unknown_property
from clew.servers.dns.chain import Answer, Context, Handler, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.dns.wire import Query, Response


class Consolidated(Value):
    """Messages that match are counted, and told once an interval."""

    interval: float
    pattern: re.Pattern[str]


class Errors(Plugin):
    def __init__(self, consolidated: tuple[Consolidated, ...], context: Context) -> None:
        self.consolidated = consolidated
        self.context = context
        self._counts = [0] * len(consolidated)
        self._since = [0.0] * len(consolidated)

    def wrap(self, following: Handler) -> Handler:
        async def later(query: Query, answer: Answer) -> Response:
            try:
                return answer if isinstance(answer, Response) else await answer
            except WorldError as error:
                kind = wire.TYPE_NAMES.get(query.qtype, str(query.qtype))
                self._tell(f"2 {wire.name_to_text(query.name)} {kind}: {error}")
                return Response(rcode=wire.SERVFAIL)

        def handle(query: Query) -> Answer:
            answer = following(query)
            return answer if isinstance(answer, Response) else later(query, answer)

        return handle

    def _tell(self, line: str) -> None:
        now = self.context.clock.monotonic()
        for at, each in enumerate(self.consolidated):
            if each.pattern.search(line):
                self._counts[at] += 1
                if now - self._since[at] >= each.interval:
                    count, self._counts[at], self._since[at] = self._counts[at], 0, now
                    self.context.say(
                        f"[ERROR] plugin/errors: {count} errors like '{each.pattern.pattern}', such as {line}"
                    )
                return
        self.context.say(f"[ERROR] plugin/errors: {line}")


def setup(directive: Directive, _site: Site, context: Context) -> Errors:
    no_arguments(directive)
    consolidated = []
    for inner in directive.block:
        if inner.name.text == "stacktrace":
            no_arguments(inner)  # a failure that is ours is told with its traceback anyway
            continue
        if inner.name.text != "consolidate":
            raise unknown_property(directive, inner, ("consolidate", "stacktrace"))
        interval, pattern, *_ = some_arguments(inner, 2, 3)
        try:
            consolidated.append(Consolidated(duration(interval), re.compile(pattern.text)))
        except re.error as wrong:
            raise pattern.error(f"not a pattern: {wrong}") from None
    return Errors(tuple(consolidated), context)
