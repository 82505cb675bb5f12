"""ready: a page that says 200 once every plugin which must first learn something has done so; see README.md."""

from clew.servers.dns.arguments import address_argument, choice, one_argument, unknown_property
from clew.servers.dns.chain import Context, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.pages import Page


class Ready(Plugin):
    def __init__(self, context: Context, *, go_on: bool) -> None:
        self.context = context
        self.go_on = go_on
        self._done: set[str] = set()

    def page(self) -> Page:
        waiting = []
        for name, check in self.context.readiness.items():
            if name in self._done and not self.go_on:
                continue
            if check():
                self._done.add(name)
            else:
                waiting.append(name)
        return Page(",".join(sorted(waiting)).encode(), 503) if waiting else Page(b"OK")


def setup(directive: Directive, _site: Site, context: Context) -> Ready:
    go_on = False
    for inner in directive.block:
        if inner.name.text != "monitor":
            raise unknown_property(directive, inner, ("monitor",))
        go_on = choice(one_argument(inner), "until-ready", "continuously") == "continuously"
    plugin = Ready(context, go_on=go_on)
    context.page(address_argument(directive, ":8181"), "/ready", plugin.page)
    return plugin
