"""The mode's table in nftables: it keeps connection tracking at work, and refuses what programs cannot refuse. Pure.

The rules depend on the node's settings, never on services. Chains of type nat have no rules: they are there so that
netfilter translates the flows that the programs entered.
"""

from collections.abc import Iterator

from clew.base.addresses import network
from clew.dataplane.ebpf.objects import TABLE, Chains
from clew.ir.marks import REFUSED
from clew.ir.proxying import Settings

EARLY = -160
HOOKS = {
    "nat-prerouting": "type nat hook prerouting priority -100; policy accept;",
    "nat-postrouting": "type nat hook postrouting priority 100; policy accept;",
    "filter-input": f"type filter hook input priority {EARLY}; policy accept;",
    "filter-forward": f"type filter hook forward priority {EARLY}; policy accept;",
    "filter-output": "type filter hook output priority -90; policy accept;",
}
MARKED = f"ct state new meta mark & 0x{REFUSED.mask:08x} == 0x{REFUSED.mask:08x} goto refusal"
REFUSALS = ("reject with tcp reset", "reject")


def chains(settings: Settings) -> Chains:
    """Every chain and its rules."""
    prefixes = [
        str(each) for each in sorted(map(network, settings.service_cidrs), key=lambda each: each.network_address)
    ]
    left = f"{settings.ip} daddr {prefixes[0] if len(prefixes) == 1 else '{ ' + ', '.join(prefixes) + ' }'}"
    unknown = (f"ct state new {left} drop",) if prefixes else ()  # an address that no service has
    return {
        "refusal": REFUSALS,
        "nat-prerouting": (),
        "nat-postrouting": (),
        "filter-input": (MARKED,),
        "filter-forward": (MARKED, *unknown),
        "filter-output": unknown,
    }


def script(settings: Settings) -> str:
    """The table from nothing, whatever is there, as one transaction."""
    where = f"{settings.ip} {TABLE}"
    made = chains(settings)
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
