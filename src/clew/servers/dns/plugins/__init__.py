"""The plugins, and the one list that gives their order; a Corefile's own order has no meaning (as in CoreDNS)."""

from clew.servers.dns.chain import Context, Plugin, Setup, Site
from clew.servers.dns.corefile import ServerBlock
from clew.servers.dns.plugins import (
    cache,
    errors,
    forward,
    health,
    hosts,
    kubernetes,
    loadbalance,
    log,
    loop,
    prometheus,
    ready,
    reload,
)

PLUGINS: tuple[tuple[str, Setup], ...] = (
    ("reload", reload.setup),
    ("ready", ready.setup),
    ("health", health.setup),
    ("prometheus", prometheus.setup),
    ("errors", errors.setup),
    ("log", log.setup),
    ("loadbalance", loadbalance.setup),
    ("cache", cache.setup),
    ("hosts", hosts.setup),
    ("kubernetes", kubernetes.setup),
    ("loop", loop.setup),
    ("forward", forward.setup),
)


def build(block: ServerBlock, site: Site, context: Context) -> list[Plugin]:
    """A server block's plugins in chain order; UserError with line and column for what is unknown or given twice."""
    by_name = {directive.name.text: directive for directive in block.directives}
    known = [name for name, _ in PLUGINS]
    seen: set[str] = set()
    for directive in block.directives:
        word = directive.name
        if word.text not in known:
            raise word.error(f"unknown directive {word.text!r}", f"known are {', '.join(sorted(known))}")
        if word.text in seen and word.text != "forward":
            raise word.error(f"{word.text!r} stands twice in this server block", "keep one")
        seen.add(word.text)
    plugins: list[Plugin] = []
    for name, setup in PLUGINS:
        if name == "forward":
            plugins += [setup(each, site, context) for each in block.directives if each.name.text == name]
        elif name in by_name:
            plugins.append(setup(by_name[name], site, context))
    return plugins
