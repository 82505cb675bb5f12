"""The mode's table in nftables: it keeps connection tracking at work, and refuses what programs cannot refuse. Pure.

The rules depend on nothing, neither services nor settings. Chains of type nat have no rules: they are there so that
netfilter translates the flows that the programs entered.
"""

from collections.abc import Iterator

from clew.dataplane.ebpf.objects import TABLE, Chains
from clew.ir.marks import REFUSED
from clew.ir.proxying import Settings

BEFORE_TABLES = -161  # of objects.TABLES, which drop what no service has
HOOKS = {
    "nat-prerouting": "type nat hook prerouting priority -100; policy accept;",
    "nat-postrouting": "type nat hook postrouting priority 100; policy accept;",
    "filter-input": f"type filter hook input priority {BEFORE_TABLES}; policy accept;",
    "filter-forward": f"type filter hook forward priority {BEFORE_TABLES}; policy accept;",
}
MARKED = f"ct state new meta mark & 0x{REFUSED.mask:08x} == 0x{REFUSED.mask:08x} goto refusal"
REFUSALS = ("reject with tcp reset", "reject")


def chains() -> Chains:
    """Every chain and its rules."""
    return {
        "refusal": REFUSALS,
        "nat-prerouting": (),
        "nat-postrouting": (),
        "filter-input": (MARKED,),
        "filter-forward": (MARKED,),
    }


def script(settings: Settings) -> str:
    """The table from nothing, whatever is there, as one transaction."""
    where = f"{settings.ip} {TABLE}"
    made = chains()
    lines = [f"add table {where}", f"delete table {where}", f"add table {where}"]
    lines += [f"add chain {where} {name}" + (f" {{ {HOOKS[name]} }}" if name in HOOKS else "") for name in made]
    lines += [f"add rule {where} {name} {rule}" for name, rules in made.items() for rule in rules]
    return "\n".join(lines)


def removal(settings: Settings) -> str:
    return f"delete table {settings.ip} {TABLE}"


def read(listing: str) -> Chains:
    """The chains of a table as nft lists it."""
    return {name: tuple(rules) for name, rules in _read(listing)}


def _read(listing: str) -> Iterator[tuple[str, list[str]]]:
    name = ""
    rules: list[str] = []
    for line in map(str.strip, listing.splitlines()):
        if line.startswith("chain "):
            name, rules = line.split()[1], []
        elif line == "}" and name:
            yield name, rules
            name = ""
        elif name and line and not line.startswith("type "):
            rules.append(line)
