"""ir to entries of the program's maps. Pure."""

from ipaddress import ip_address

from clew.base.domain_names import name_to_wire
from clew.dataplane.dns_fast_path.objects import (
    APEX,
    APEX_LABELS,
    KEY,
    SOA,
    NameEntry,
    ServerEntry,
    SoaRecord,
    What,
    ZoneEntry,
)
from clew.ir.names import SOA_TIMES, KnownName, KnownZone, NameServer

_SOA_TYPE, _IN = 6, 1


def name(known: KnownName, domain: str) -> NameEntry | None:
    """None for a name that no question can ask for: it cannot be written, or is longer than what is looked up."""
    if known.name != known.name.lower() or not known.name.endswith(f".{domain}"):
        return None
    try:
        key = name_to_wire(known.name.removesuffix(f".{domain}"))[:-1]
        found = {ip_address(each).version: ip_address(each).packed for each in known.addresses}
    except ValueError:
        return None
    what = What(0)
    for flag, is_so in (
        (What.A, 4 in found), (What.AAAA, 6 in found), (What.ASK, known.more), (What.ASK_BELOW, known.below),
    ):  # fmt: skip
        what |= flag if is_so else What(0)
    return NameEntry(key, what, found.get(4, b""), found.get(6, b""), known.origin) if len(key) <= KEY else None


def own_names(zone: KnownZone) -> tuple[NameEntry, ...]:
    """Where a question holds the names of the SOA's data, the server points at them there: it answers by itself."""
    inside = {text.rpartition(".")[2] for text in (zone.name_server, zone.mailbox)}
    known = [KnownName(f"{each}.{zone.domain}", zone.origin, more=True, below=True) for each in sorted(inside)]
    return tuple(entry for each in known if (entry := name(each, zone.domain)))


def zone(known: KnownZone) -> ZoneEntry | None:
    """None for a name that is too long for the program."""
    apex = name_to_wire(known.domain.lower())
    labels = known.domain.count(".") + 1 if known.domain else 0
    longest = _soa(known, apex, 0)
    if not 0 < labels <= APEX_LABELS or len(apex) > APEX or len(longest.record) > SOA:
        return None
    return ZoneEntry(apex, known.ttl, tuple(_soa(known, apex, agree) for agree in range(labels + 1)), known.origin)


def _soa(known: KnownZone, apex: bytes, agree: int) -> SoaRecord:
    """The record behind a question whose last `agree` labels are the zone's."""
    at = 0
    for _ in range(apex_labels(apex) - agree):
        at += 1 + apex[at]
    owner = apex[:at] + (b"\0\0" if agree else b"\0")  # the pointers are the program's to fill in
    data = b"".join(name_to_wire(each)[:-1] + b"\0\0" for each in (known.name_server, known.mailbox))
    first = len(owner) + 10 + len(name_to_wire(known.name_server)) - 1
    second = first + 2 + len(name_to_wire(known.mailbox)) - 1
    times = b"".join(each.to_bytes(4) for each in (0, *SOA_TIMES, known.ttl))
    head = _SOA_TYPE.to_bytes(2) + _IN.to_bytes(2) + known.ttl.to_bytes(4) + (len(data) + len(times)).to_bytes(2)
    return SoaRecord(
        owner + head + data + times, len(apex) - at if agree else 0, (len(owner) - 2, first, second), second + 2
    )


def apex_labels(apex: bytes) -> int:
    count = at = 0
    while apex[at]:
        at += 1 + apex[at]
        count += 1
    return count


def server(where: NameServer) -> ServerEntry:
    ip = ip_address(where.address)
    packed = ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed
    return ServerEntry(packed, where.port, where.origin)
