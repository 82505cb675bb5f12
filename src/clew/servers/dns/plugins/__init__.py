"""The plugins, and the one list that gives their order; a Corefile's own order has no meaning (as in CoreDNS)."""

from clew.servers.dns.arguments import nearest
from clew.servers.dns.chain import Context, Plugin, Setup, Site
from clew.servers.dns.corefile import Directive, ServerBlock
from clew.servers.dns.plugins import (
    acl,
    any,  # noqa: A004 - the plugin's own name
    autopath,
    bind,
    bufsize,
    cache,
    chaos,
    errors,
    file,
    forward,
    health,
    hosts,
    kubernetes,
    loadbalance,
    local,
    log,
    loop,
    minimal,
    prometheus,
    ready,
    reload,
    rewrite,
    rrl,
    template,
    whoami,
)

PLUGINS: tuple[tuple[str, Setup], ...] = (
    ("reload", reload.setup),
    ("bufsize", bufsize.setup),
    ("bind", bind.setup),
    ("ready", ready.setup),
    ("health", health.setup),
    ("prometheus", prometheus.setup),
    ("log", log.setup),
    ("errors", errors.setup),
    ("local", local.setup),
    ("acl", acl.setup),
    ("rrl", rrl.setup),
    ("any", any.setup),
    ("chaos", chaos.setup),
    ("loadbalance", loadbalance.setup),
    ("cache", cache.setup),
    ("rewrite", rewrite.setup),
    ("autopath", autopath.setup),
    ("minimal", minimal.setup),
    ("template", template.setup),
    ("hosts", hosts.setup),
    ("kubernetes", kubernetes.setup),
    ("file", file.setup),
    ("loop", loop.setup),
    ("forward", forward.setup),
    ("whoami", whoami.setup),
)
_EACH = frozenset({"forward", "template", "file", "log"})  # each directive is a plugin of its own, in the file's order
_TOGETHER = frozenset({"rewrite", "acl"})  # all directives make one plugin: they are its block


def build(block: ServerBlock, site: Site, context: Context) -> list[Plugin]:
    """A server block's plugins in chain order; UserError with line and column for what is unknown or given twice."""
    known = [name for name, _ in PLUGINS]
    by_name: dict[str, list[Directive]] = {}
    for directive in block.directives:
        word = directive.name
        if word.text not in known:
            raise word.error(f"unknown directive {word.text!r}", nearest(word.text, known))
        if word.text in by_name and word.text not in _EACH | _TOGETHER:
            raise word.error(f"{word.text!r} stands twice in this server block", "keep one")
        by_name.setdefault(word.text, []).append(directive)
    plugins: list[Plugin] = []
    for name, setup in PLUGINS:
        directives = by_name.get(name, [])
        if name in _TOGETHER and directives:
            directives = [Directive(directives[0].name, (), tuple(directives))]
        plugins += [setup(directive, site, context) for directive in directives]
    _link_search_paths(plugins, by_name)
    return plugins


def _link_search_paths(plugins: list[Plugin], by_name: dict[str, list[Directive]]) -> None:
    """`autopath @kubernetes` asks the kubernetes plugin of its server block whose pod it is that asks."""
    clusters = [plugin for plugin in plugins if isinstance(plugin, kubernetes.Kubernetes)]
    for plugin in plugins:
        if isinstance(plugin, autopath.AutoPath) and plugin.by_pod:
            if not clusters or clusters[0].options.pods != "verified":
                word = by_name["autopath"][0].name
                raise word.error("autopath @kubernetes needs a kubernetes with pods verified in this server block")
            plugin.path_of = clusters[0].search_path
