"""ipset's messages in bytes: declarations and entries, to and from ipset's text. Pure; used by real.py.

Source: include/uapi/linux/netfilter/ipset/ip_set.h. Numbers are in network order, and say so in their attribute's type.
"""

from ipaddress import ip_address, ip_network

from clew.base.addresses import Family
from clew.kernel.ipset.port import MOST, IpSet
from clew.kernel.nfnetlink import attribute, attributes, nested

SUBSYSTEM = 6 << 8
CREATE, DESTROY, LIST, ADD, DELETE, TYPE = (SUBSYSTEM | number for number in (2, 3, 7, 9, 10, 13))
PROTOCOL_VERSION = 6

# IPSET_ATTR_*: of a command
PROTOCOL, SETNAME, TYPENAME, REVISION, FAMILY, FLAGS, DATA, ADT, LINE = range(1, 10)
# of an entry or a declaration
IP, _IP_TO, CIDR, PORT, PORT_TO, _TIMEOUT, PROTO = range(1, 8)
HASHSIZE, MAXELEM = 18, 19
IP2, CIDR2 = 20, 21
ADDRESS = {4: 1, 6: 2}
NET_ORDER = 0x4000
HEADERS_ONLY = 4  # IPSET_FLAG_LIST_HEADER

FAMILIES: dict[Family, int] = {4: 2, 6: 10}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

ERRORS = {
    4097: "the kernel speaks another version of the protocol",
    4098: "the kernel has no such type of set",
    4099: "there are too many sets",
    4100: "the set is in use",
    4102: "the set is of another type",
    4103: "the entry is there already, or is not",
    4104: "the prefix length is invalid",
    4106: "the family is invalid",
    4109: "the set is in use by another set",
    4110: "an IPv4 address is expected",
    4111: "an IPv6 address is expected",
    4352: "the set is full",
}  # IPSET_ERR_*


def command(name: str) -> bytes:
    return attribute(PROTOCOL, bytes((PROTOCOL_VERSION,))) + attribute(SETNAME, name.encode() + b"\0")


def type_query(what: IpSet) -> bytes:
    return (
        attribute(PROTOCOL, bytes((PROTOCOL_VERSION,)))
        + attribute(TYPENAME, what.kind.encode() + b"\0")
        + attribute(FAMILY, bytes((_family(what),)))
    )


def create(what: IpSet, revision: int) -> bytes:
    payload = command(what.name) + attribute(TYPENAME, what.kind.encode() + b"\0")
    payload += attribute(REVISION, bytes((revision,))) + attribute(FAMILY, bytes((_family(what),)))
    if what.kind == "bitmap:port":
        return payload + nested(DATA, _u16(PORT, 0) + _u16(PORT_TO, 0xFFFF))
    return payload + nested(DATA, _u32(HASHSIZE, 1024) + _u32(MAXELEM, MOST))


def _family(what: IpSet) -> int:
    return 0 if what.kind == "bitmap:port" else FAMILIES[what.family]


def entry(what: IpSet, text: str) -> bytes:
    """The attributes of one entry; ValueError where the text is none of this kind of set."""
    if what.kind == "bitmap:port":
        return _u16(PORT, int(text))
    parts = text.split(",")
    if len(parts) != what.kind.count(",") + 1:
        raise ValueError(f"{text!r} is no entry of a {what.kind} set")
    if what.kind == "hash:net":
        return _prefix(IP, CIDR, parts[0])
    payload = _address(IP, parts[0])
    if len(parts) > 1:
        protocol, _, port = parts[1].partition(":")
        payload += _u16(PORT, int(port)) + attribute(PROTO, bytes((PROTOCOLS[protocol],)))
    if len(parts) > 2:
        payload += _prefix(IP2, CIDR2, parts[2]) if what.kind.endswith("net") else _address(IP2, parts[2])
    return payload


def _address(kind: int, text: str) -> bytes:
    packed = ip_address(text).packed
    return nested(kind, attribute((1 if len(packed) == 4 else 2) | NET_ORDER, packed))


def _prefix(address: int, length: int, text: str) -> bytes:
    network = ip_network(text)
    return _address(address, str(network.network_address)) + attribute(length, bytes((network.prefixlen,)))


def _u16(kind: int, value: int) -> bytes:
    return attribute(kind | NET_ORDER, value.to_bytes(2, "big"))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind | NET_ORDER, value.to_bytes(4, "big"))


def read_header(part: bytes) -> tuple[str, str, int]:
    """Name, type and family number of a listed set."""
    name = kind = ""
    family = 0
    for field, start, end in attributes(part, 0, len(part)):
        if field == SETNAME:
            name = part[start:end].rstrip(b"\0").decode()
        elif field == TYPENAME:
            kind = part[start:end].rstrip(b"\0").decode()
        elif field == FAMILY:
            family = part[start]
    return name, kind, family


def read_entries(part: bytes) -> list[str]:
    """The entries in one message of a listing."""
    found = []
    for field, start, end in attributes(part, 0, len(part)):
        if field == ADT:
            found += [
                _read_entry(part, first, last) for kind, first, last in attributes(part, start, end) if kind == DATA
            ]
    return found


def _read_entry(data: bytes, start: int, end: int) -> str:
    fields = {kind: data[first:last] for kind, first, last in attributes(data, start, end)}
    words = []
    if IP in fields:
        words.append(_read_address(fields[IP]) + _read_length(fields, IP, CIDR))
    if PORT in fields:
        port = int.from_bytes(fields[PORT][:2], "big")
        number = fields[PROTO][0] if PROTO in fields else 0
        words.append(f"{PROTOCOL_NAMES.get(number, number)}:{port}" if PROTO in fields else str(port))
    if IP2 in fields:
        words.append(_read_address(fields[IP2]) + _read_length(fields, IP2, CIDR2))
    return ",".join(words)


def _read_address(data: bytes) -> str:
    for _, start, end in attributes(data, 0, len(data)):
        return str(ip_address(data[start:end]))
    return ""


def _read_length(fields: dict[int, bytes], address: int, length: int) -> str:
    """`/24`; nothing where the prefix is a whole address, as ipset prints it."""
    if length not in fields:
        return ""
    bits = fields[length][0]
    whole = 128 if ":" in _read_address(fields[address]) else 32
    return "" if bits == whole else f"/{bits}"
