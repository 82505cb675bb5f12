"""Would a packet leave under the node's address? Reads the rendered table, never ir. Pure."""

from clew.base.addresses import address, network
from clew.dataplane.masquerade.objects import NatTable, Rule


def deciding_rule(table: NatTable, source: str, destination: str) -> Rule | None:
    """The rule that hides `source` on the way to `destination` (after service translation); None: it stays as it is."""
    return next((rule for rule in table.rules if _applies(rule, source, destination)), None)


def _applies(rule: Rule, source: str, destination: str) -> bool:
    return (
        _within(source, rule.sources)
        and address(destination).version == rule.version
        and not _within(destination, rule.inside)
    )


def _within(ip: str, prefixes: tuple[str, ...]) -> bool:
    found = address(ip)
    return any(found in network(prefix) for prefix in prefixes)
