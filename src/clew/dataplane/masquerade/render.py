"""ir to the nft table, and the table to the script that puts it in place. Pure."""

from collections.abc import Iterable
from ipaddress import collapse_addresses

from clew.base.addresses import Network, network
from clew.dataplane.masquerade.objects import CHAIN, FAMILY, TABLE, NatTable, Rule
from clew.ir.routes import Masquerade


def table(masquerade: Masquerade) -> NatTable:
    """One rule a family that the node has pods in that hide."""
    rules = []
    for version in (4, 6):
        sources = _of(version, masquerade.sources)
        if sources:
            rules.append(Rule(version, sources, _of(version, (*masquerade.inside, *masquerade.sources))))
    return NatTable(tuple(rules), masquerade.origin)


def _of(version: int, prefixes: Iterable[str]) -> tuple[str, ...]:
    """Those of a family, what lies in another left out and neighbours joined: nft refuses sets that overlap."""
    found = [network(prefix) for prefix in prefixes if (":" in prefix) == (version == 6)]
    return tuple(_short(prefix) for prefix in collapse_addresses(found))  # type: ignore[type-var]  # of one family


def _short(prefix: Network) -> str:
    """A single address is written without its length, as nft prints it."""
    return str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)


def script(wanted: NatTable) -> str:
    """The whole table anew in one transaction, or away; connections that are translated already stay so."""
    if not wanted.rules:
        return f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
    lines = [
        f'add table {FAMILY} {TABLE} {{ comment "pods leaving the cluster"; }}',
        f"add chain {FAMILY} {TABLE} {CHAIN} {{ type nat hook postrouting priority srcnat; policy accept; }}",
        f"flush chain {FAMILY} {TABLE} {CHAIN}",
        *(f"add rule {FAMILY} {TABLE} {CHAIN} {rule.words}" for rule in wanted.rules),
    ]
    return "\n".join(lines) + "\n"
