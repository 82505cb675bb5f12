"""A node's router in BIRD 2's words. Pure: the same speaker gives the same text, so that a restart changes nothing."""

from collections.abc import Iterable

from clew.base.addresses import family_of, network
from clew.ir.routing import Neighbour, Speaker

HEAD = "# Written by the Clew agent of this node, which writes it anew when anything of it changes."
# The defaults keep a session down for a minute after a flap, and try the first time after five seconds
TIMERS = "error wait time 1, 3; connect delay time 0; connect retry time 3; hold time 90; graceful restart on;"
# What goes into the kernel. The links' own subnets do not: BIRD knows them to find the way to a neighbour.
LEARNT = "RTS_BGP, RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2"
LINKS = '-"veth*", -"cbr0", "*"'


def configuration(speaker: Speaker) -> str:
    """The whole file.

    What is announced stands in a static protocol and never goes into the kernel, which knows the node's own pods by
    itself. Routes stay there when BIRD ends (`persist`), so that traffic goes on.
    """
    families = sorted({family_of(prefix) for prefix in speaker.announced} & {family_of(a) for a in speaker.addresses})
    parts = [
        HEAD,
        "log stderr { warning, error, auth, fatal, bug };",
        f"router id {speaker.router_id};",
        "protocol device { scan time 10; }",
    ]
    for family in families:
        parts += _of_family(speaker, family)
    if speaker.protocol == "ospf":
        parts += [_ospf(speaker, family) for family in families]
    for neighbour in speaker.neighbours:
        if family_of(neighbour.address) in families:
            parts.append(_session(speaker, neighbour))
    return "\n".join(parts) + "\n"


def nothing() -> str:
    """A router that says nothing, believes nothing, and takes the routes of its kind out of the kernel."""
    tables = [f"protocol kernel kernel{family} {{ ipv{family} {{ import none; export none; }}; }}" for family in (4, 6)]
    return "\n".join([HEAD, "router id 1;", "protocol device { }", *tables]) + "\n"


def _of_family(speaker: Speaker, family: int) -> list[str]:
    own = [prefix for prefix in speaker.announced if family_of(prefix) == family]
    believed = ", ".join(f"{prefix}+" for prefix in _sorted(speaker.believed, family))
    unreachable = " ".join(f"route {prefix} unreachable;" for prefix in own)
    kernel = f"ipv{family} {{ import none; export where source ~ [ {LEARNT} ]; }};"
    lines = [
        f"filter taken{family} {{ if net ~ [ {believed} ] then accept; reject; }}",
        f"protocol static own{family} {{ ipv{family}; {unreachable} }}",
        f"protocol direct links{family} {{ ipv{family}; interface {LINKS}; }}",
        f"protocol kernel kernel{family} {{ {kernel} merge paths on; persist; graceful restart; scan time 10; }}",
    ]
    if speaker.protocol == "bgp":
        local = next(address for address in speaker.addresses if family_of(address) == family)
        lines.append(
            f"template bgp peer{family} {{ local {local} as {speaker.asn}; {TIMERS}"
            f" ipv{family} {{ import filter taken{family}; export where source = RTS_STATIC; }}; }}"
        )
    return lines


def _session(speaker: Speaker, neighbour: Neighbour) -> str:
    family = family_of(neighbour.address)
    more = ""
    if neighbour.client:  # what other clients say goes on to this one as they said it (RFC 4456)
        more = f" rr client; ipv{family} {{ import filter taken{family}; export all; }};"
    elif neighbour.asn != speaker.asn:  # other nodes' routes come back through it with our own number in their path
        more = " allow local as 1;"
    if neighbour.password:
        more += f' password "{neighbour.password}";'
    name = f"'bgp{family}:{neighbour.name.replace(':', '-')}'"
    return f"protocol bgp {name} from peer{family} {{ neighbor {neighbour.address} as {neighbour.asn};{more} }}"


def _ospf(speaker: Speaker, family: int) -> str:
    area = " ".join(
        f'interface "{link}" {{ type broadcast; hello 1; dead count 4; wait 2; }};' for link in speaker.links
    )
    version = "v2" if family == 4 else "v3"
    return (
        f"protocol ospf {version} ospf{family} {{ ipv{family} {{ import filter taken{family};"
        f" export where source = RTS_STATIC; }}; area 0 {{ {area} }}; }}"
    )


def _sorted(prefixes: Iterable[str], family: int) -> list[str]:
    return sorted((prefix for prefix in prefixes if family_of(prefix) == family), key=lambda each: str(network(each)))
