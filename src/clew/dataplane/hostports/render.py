"""ir to elements, and the script of the table that holds them. Pure."""

import struct
from collections.abc import Iterable

from clew.base.addresses import address, family_of
from clew.dataplane.hostports.objects import FAMILY, OWN, SELF, TABLE, WHOLE, Entry, Place
from clew.ir.links import HostPort

COMMENT = "ports of the node that lead to pods"
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_TABLE = f"{FAMILY} {TABLE}"


def entries(port: HostPort) -> tuple[Entry, ...]:
    """The map's element, and the pod's own in the set of those that reach themselves."""
    family, pod = port.family, address(port.address).packed
    where = WHOLE[family] if not port.host_ip else OWN[family]
    host = address(port.host_ip).packed if port.host_ip else b""
    key = host + struct.pack("!B3xH2x", NUMBERS[port.protocol], port.host_port)
    return (
        Entry(where.name, key, pod + struct.pack("!H2x", port.port)),
        Entry(SELF[family].name, pod + pod, b""),
    )


def every(ports: Iterable[HostPort]) -> dict[tuple[str, bytes], Entry]:
    """All elements by set and key; of two that want one key the first has it (an ADD refuses the second)."""
    found: dict[tuple[str, bytes], Entry] = {}
    for port in ports:
        for entry in entries(port):
            found.setdefault((entry.name, entry.key), entry)
    return found


def script(place: Place) -> str:
    """The table without elements, as commands."""
    lines = [f'add table {_TABLE} {{ comment "{COMMENT}"; }}']
    lines += [f"add {kind} {_TABLE} {name} {{ {body}; }}" for kind, name, body in _sets()]
    for name, hook, rules in _chains(place):
        lines.append(f"add chain {_TABLE} {name} {{ {hook} }}" if hook else f"add chain {_TABLE} {name}")
        lines += [f"add rule {_TABLE} {name} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def listing(place: Place) -> str:
    """The same as nft prints it: what a restarted agent compares the kernel's with."""
    blocks = [f"\t{kind} {name} {{\n\t\t{body}\n\t}}" for kind, name, body in _sets()]
    for name, hook, rules in _chains(place):
        body = [*([hook] if hook else []), *rules]
        blocks.append("\n".join([f"\tchain {name} {{", *(f"\t\t{line}" for line in body), "\t}"]))
    return f'table {_TABLE} {{\n\tcomment "{COMMENT}"\n' + "\n\n".join(blocks) + "\n}\n"


def removal() -> str:
    return f"delete table {_TABLE}\n"


def _sets() -> list[tuple[str, str, str]]:
    found = []
    for family, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        port, pod = "inet_proto . inet_service", f"{kind} . inet_service"
        found += [
            ("map", OWN[family].name, f"type {kind} . {port} : {pod}"),
            ("map", WHOLE[family].name, f"type {port} : {pod}"),
            ("set", SELF[family].name, f"type {kind} . {kind}"),
        ]
    return found


def _chains(place: Place) -> list[tuple[str, str, list[str]]]:
    """Name, hook and rules of each.

    What goes to ::1 would leave and never come back (IPv6 has no `route_localnet`), and is refused at once.
    What comes from 127.0.0.1 takes another address, for a pod could not answer it; what comes from a pod to 127.0.0.1
    may only be such an answer, since `route_localnet` has opened the way. What goes to a service's address is not the
    node's, though mode ipvs has the node carry it: a port of the node would take that port of every service.
    """
    translate = []
    for family, ip in ((4, "ip"), (6, "ip6")):
        match = f"meta l4proto {{ tcp, udp, sctp }} dnat {ip} to"  # the first rule's `daddr` says the family already
        translate += [
            f"{match} {ip} daddr . meta l4proto . th dport map @{OWN[family].name}",
            f"meta nfproto ipv{family} {match} meta l4proto . th dport map @{WHOLE[family].name}",
        ]
    hidden = [
        f"ip saddr . ip daddr @{SELF[4].name} masquerade fully-random",
        f"ip6 saddr . ip6 daddr @{SELF[6].name} masquerade fully-random",
        f'oifname "{place.bridge}" ip saddr 127.0.0.0/8 masquerade fully-random',
        f"oifgroup {place.group} ip saddr 127.0.0.0/8 masquerade fully-random",
    ]
    services = [f"{'ip6' if family_of(each) == 6 else 'ip'} daddr {each} return" for each in place.services]
    local = [*services, "fib daddr type local goto translate"]
    return [
        ("translate", "", translate),
        ("prerouting", "type nat hook prerouting priority -100; policy accept;", local),
        ("output", "type nat hook output priority -100; policy accept;", ["ip6 daddr ::1 return", *local]),
        ("postrouting", "type nat hook postrouting priority 100; policy accept;", hidden),
        (
            "guard",
            "type filter hook input priority 0; policy accept;",
            [
                f'iifname "{place.bridge}" ip daddr 127.0.0.0/8 ct state new drop',
                f"iifgroup {place.group} ip daddr 127.0.0.0/8 ct state new drop",
            ],
        ),
    ]
