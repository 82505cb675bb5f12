"""health: a page that says the process is alive; on stopping, `lameduck` keeps answering for that long."""

from clew.servers.dns.arguments import address_argument, duration, one_argument, unknown_property
from clew.servers.dns.chain import Context, Plugin, Site
from clew.servers.dns.corefile import Directive
from clew.servers.pages import Page


class Health(Plugin):
    """`lameduck` is read by whoever stops the process."""

    def __init__(self, lameduck: float) -> None:
        self.lameduck = lameduck


def setup(directive: Directive, _site: Site, context: Context) -> Health:
    lameduck = 0.0
    for inner in directive.block:
        if inner.name.text != "lameduck":
            raise unknown_property(directive, inner, ("lameduck",))
        lameduck = duration(one_argument(inner))
    context.page(address_argument(directive, ":8080"), "/health", lambda: Page(b"OK"))
    return Health(lameduck)
