"""A node's router in BIRD 2's words. Pure: the same speaker gives the same text, so that a restart changes nothing."""

import hashlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from clew.base.addresses import family_of, network
from clew.ir.routing import Neighbour, Speaker

HEAD = "# Written by the Clew agent of this node, which writes it anew when anything of it changes."
MARK = "clew_"  # begins every name in a file that somebody else's configuration includes
# The defaults keep a session down for a minute after a flap, and try the first time after five seconds
TIMERS = "error wait time 1, 3; connect delay time 0; connect retry time 3; hold time 90; graceful restart on;"
# Seconds after its start in which BIRD leaves the kernel's routes as they are, unless all neighbours have come before;
# it would wait four minutes for one that is off
RECOVERY = 10
# What goes into the kernel.
LEARNT = "RTS_BGP, RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2"
LONGEST = 64  # letters of a name
LINKS = '-"veth*", -"cbr0", "*"'


def configuration(speaker: Speaker) -> str:
    """The whole file of a BIRD of our own."""
    head = [
        HEAD,
        "log stderr { warning, error, auth, fatal, bug };",
        f"router id {speaker.router_id};",
        f"graceful restart wait {RECOVERY};",
        "protocol device { scan time 10; }",
    ]
    return "\n".join([*head, *_protocols(speaker, "", frozenset())]) + "\n"


def included(speaker: Speaker, synced: AbstractSet[int]) -> str:
    """What somebody else's file includes; in the families of `synced` it has a kernel protocol of its own already.

    BIRD allows one for each of the kernel's tables, and what it exports there is its owner's decision.
    """
    return "\n".join([HEAD, *_protocols(speaker, MARK, synced)]) + "\n"


def nothing() -> str:
    """A router that says nothing, believes nothing, and takes the routes of its kind out of the kernel."""
    return "\n".join([HEAD, "router id 1;", "protocol device { }", *map(_emptied, (4, 6))]) + "\n"


def included_nothing(text: str) -> list[str]:
    """By what the included file `text` becomes one that says nothing: first no routes, then no protocols."""
    kernels = [_emptied(family, MARK) for family in (4, 6) if f"protocol kernel {MARK}kernel{family} " in text]
    return ["\n".join([HEAD, *kernels]) + "\n"] * bool(kernels) + [HEAD + "\n"]


def _emptied(family: int, mark: str = "") -> str:
    """It keeps nothing (no `persist`), so that what it had entered goes."""
    return f"protocol kernel {mark}kernel{family} {{ ipv{family} {{ import none; export none; }}; }}"


def _protocols(speaker: Speaker, mark: str, synced: AbstractSet[int]) -> list[str]:
    families = sorted({family_of(prefix) for prefix in speaker.announced} & {family_of(a) for a in speaker.addresses})
    parts = []
    for family in families:
        parts += _of_family(speaker, family, mark)
        if family not in synced:
            parts.append(_kernel(speaker, family, mark))
    if speaker.protocol == "ospf":
        parts += [_ospf(speaker, family, mark) for family in families]
    for neighbour in speaker.neighbours:
        if family_of(neighbour.address) in families:
            parts.append(_session(speaker, neighbour, mark))
    return parts


def _of_family(speaker: Speaker, family: int, mark: str) -> list[str]:
    """What is announced stands in a static protocol: the kernel knows the node's own pods by itself."""
    own = [prefix for prefix in speaker.announced if family_of(prefix) == family]
    unreachable = " ".join(f"route {prefix} unreachable;" for prefix in own)
    lines = [
        _taken(speaker, family, mark),
        f"protocol static {mark}own{family} {{ ipv{family}; {unreachable} }}",
        f"ipv{family} table {mark}near{family};",  # to find the way to a neighbour, and for nobody else
        f"protocol direct {mark}links{family} {{ ipv{family} {{ table {mark}near{family}; }}; interface {LINKS}; }}",
    ]
    if speaker.protocol == "bgp":
        local = next(address for address in speaker.addresses if family_of(address) == family)
        channel = f"igp table {mark}near{family}; import filter {mark}taken{family}; {_own(family, mark)}"
        lines.append(
            f"template bgp {mark}peer{family} {{ local {local} as {speaker.asn}; {TIMERS}"
            f" ipv{family} {{ {channel} }}; }}"
        )
    return lines


def _taken(speaker: Speaker, family: int, mark: str) -> str:
    """What is believed of others, with what the path to it takes: the kernel is told, whoever enters the route."""
    paths = "".join(
        f" if net ~ [ {prefix}+ ] then {{ krt_mtu = {mtu}; krt_lock_mtu = true; }}"
        for prefix, mtu in sorted(speaker.narrow.items()) if family_of(prefix) == family
    )  # fmt: skip
    believed = _within(speaker.believed, family)
    return f"filter {mark}taken{family} {{ if !(net ~ [ {believed} ]) then reject;{paths} accept; }}"


def _own(family: int, mark: str) -> str:
    return f'export where proto = "{mark}own{family}";'


def _kernel(speaker: Speaker, family: int, mark: str) -> str:
    """Routes to pods, but for those that tunnels lead to. They stay when BIRD ends, so that traffic goes on."""
    taken = f"source ~ [ {LEARNT} ] && net ~ [ {_within(speaker.believed, family)} ]"
    if elsewhere := _within(speaker.elsewhere, family):
        taken += f" && !(net ~ [ {elsewhere} ])"
    channel = f"ipv{family} {{ import none; export where {taken}; }};"
    return (
        f"protocol kernel {mark}kernel{family} {{ {channel} merge paths on; persist; graceful restart; scan time 10; }}"
    )


def _session(speaker: Speaker, neighbour: Neighbour, mark: str) -> str:
    family = family_of(neighbour.address)
    more = ""
    if neighbour.client:  # what other clients say goes on to this one as they said it (RFC 4456)
        taken = f"filter {mark}taken{family}"
        more = f" rr client; ipv{family} {{ igp table {mark}near{family}; import {taken}; export {taken}; }};"
    elif neighbour.asn != speaker.asn:  # other nodes' routes come back through it with our own number in their path
        more = " allow local as 1;"
    if neighbour.password:
        more += f' password "{neighbour.password}";'
    name = _symbol(f"{mark}bgp{family}:{neighbour.name.replace(':', '-')}")
    return f"protocol bgp '{name}' from {mark}peer{family} {{ neighbor {neighbour.address} as {neighbour.asn};{more} }}"


def _symbol(name: str) -> str:
    """As BIRD takes it: one name too long, and it refuses the file. Nodes' names have up to 253 letters."""
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9]}-{digest}"


def _ospf(speaker: Speaker, family: int, mark: str) -> str:
    area = " ".join(
        f'interface "{link}" {{ type broadcast; hello 1; dead count 4; wait 2; }};' for link in speaker.links
    )
    version = "v2" if family == 4 else "v3"
    return (
        f"protocol ospf {version} {mark}ospf{family} {{ ipv{family} {{ import filter {mark}taken{family};"
        f" {_own(family, mark)} }}; area 0 {{ {area} }}; }}"
    )


def _within(prefixes: Iterable[str], family: int) -> str:
    """A family's prefixes and all that lie in them, as BIRD writes sets; "" where there are none."""
    found = sorted((prefix for prefix in prefixes if family_of(prefix) == family), key=lambda each: str(network(each)))
    return ", ".join(f"{prefix}+" for prefix in found)
