"""Whether a Corefile answers for a cluster's domain from the kubernetes plugin alone, whoever asks and however often.

Then somebody else who knows the cluster may give the same answers. A plugin that is not known to leave them as they are
is taken to change them. Called by node/dns_fast_path.
"""

from clew.base.errors import UserError
from clew.base.value import Value
from clew.servers.dns import wire
from clew.servers.dns.arguments import zones_and_port
from clew.servers.dns.corefile import Directive, ServerBlock, parse
from clew.servers.dns.plugins.kubernetes.options import Options, Watching, read

# those that stand behind kubernetes, look on, or change the order of several addresses
_HARMLESS = frozenset({
    "any", "bufsize", "cache", "chaos", "errors", "file", "forward", "health", "kubernetes", "loadbalance", "loop",
    "prometheus", "ready", "reload", "whoami",
})  # fmt: skip
_PORT = 53


class Plain(Value):
    domain: str
    ttl: int  # seconds


class NotPlainError(UserError):
    """Says where and why a Corefile's answers are its server's alone."""


def plain(text: str) -> Plain:
    """The domain that is answered so. NotPlainError where none is, or that cannot be seen from here."""
    if "{$" in text or "{%" in text:
        raise NotPlainError("Corefile: it depends on variables of the server's own process")
    try:
        return _decided(parse(text, None, {}))
    except NotPlainError:
        raise
    except UserError as wrong:
        raise NotPlainError(wrong.message) from None


def _decided(blocks: tuple[ServerBlock, ...]) -> Plain:
    found = [
        (block, directive)
        for block in blocks
        for directive in block.directives
        if directive.name.text == "kubernetes" and _PORT in {port for _, port in _keys(block)}
    ]
    if len(found) != 1:
        raise NotPlainError(f"Corefile: {len(found)} server blocks of port {_PORT} have the plugin kubernetes")
    (block, directive), *_ = found
    return _checked(blocks, block, directive)


def _keys(block: ServerBlock) -> list[tuple[str, int]]:
    """The zones of a server block, each with its port."""
    return [(zone, port) for key in block.keys for found, port in [zones_and_port(key, _PORT)] for zone in found]


def _checked(blocks: tuple[ServerBlock, ...], block: ServerBlock, directive: Directive) -> Plain:
    own = tuple(zone for zone, port in _keys(block) if port == _PORT)
    options = read(directive, own)
    if not options.domains or not options.domains[0]:
        raise NotPlainError(_at(directive, "it serves no domain"))
    domain = options.domains[0]
    for each in block.directives:
        if each.name.text not in _HARMLESS:
            raise NotPlainError(_at(each, f"{each.name.text!r} stands in the same server block"))
    _check_options(directive, options)
    _check_zones(blocks, own, options, directive)
    return Plain(domain, options.ttl)


def _at(directive: Directive, text: str) -> str:
    return directive.name.error(text).message


def _related(one: str, other: str) -> bool:
    """Whether one name is the other or stands below it."""
    names = [wire.name_to_wire(each) for each in (one, other)]
    return wire.is_below(names[0], names[1]) or wire.is_below(names[1], names[0])


def _check_options(directive: Directive, options: Options) -> None:
    usual = Watching(pods=options.watching.pods, pod_names=options.watching.pod_names)
    if options.watching != usual:
        raise NotPlainError(_at(directive, "it shows a part of the cluster, or another cluster"))
    falls = [zone for zone in options.fallthrough or () if _related(zone, options.domains[0])]
    if falls:
        raise NotPlainError(_at(directive, f"names of {options.domains[0]} fall through"))


def _check_zones(blocks: tuple[ServerBlock, ...], own: tuple[str, ...], options: Options, directive: Directive) -> None:
    """No other zone may take names of the domain away."""
    domain = wire.name_to_wire(options.domains[0])
    holders = [zone for zone in own if wire.is_below(domain, wire.name_to_wire(zone))]
    if not holders:
        raise NotPlainError(_at(directive, f"its server block does not serve {options.domains[0]}"))
    nearest = max(len(wire.name_to_wire(zone)) for zone in holders)
    others = [zone for each in blocks for zone, port in _keys(each) if port == _PORT and zone not in own]
    for zone in (*others, *options.domains[1:], *(each for each in own if each not in holders)):
        name = wire.name_to_wire(zone)
        below = wire.is_below(name, domain) and (zone in others or zone in options.domains)
        between = wire.is_below(domain, name) and len(name) > nearest
        if below or between:
            raise NotPlainError(_at(directive, f"{zone} takes names of {options.domains[0]} away"))
