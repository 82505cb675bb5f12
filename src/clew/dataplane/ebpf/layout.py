"""Keys and values of the maps in bytes, as bpf/services.h declares them, and back.

Both families share the maps: IPv4 addresses stand as ::ffff:a.b.c.d, numbers of sets of IPv6 backends have the highest
bit. Ports are in network order, everything else in the machine's. Pure.
"""

import struct
import sys
from collections.abc import Iterable, Mapping
from enum import IntFlag
from ipaddress import IPv6Address, ip_network
from socket import AF_INET, AF_INET6, inet_pton  # of the socket library only what is a function of its argument

from clew.base.addresses import Family
from clew.base.value import Value

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
MAPPED = bytes(10) + b"\xff\xff"
NAME = 208
ADDRESS = 16
IPV6_SETS = 1 << 31
PRESENT = (1).to_bytes(4, "little")
IMAGE = "services"  # bpf/services.bpf.c

_FRONTEND = struct.Struct("=IIIIII")
_PAIR = struct.Struct("=II")
_NUMBER = struct.Struct("=I")
_NODE = struct.Struct("=Q16sII")
_PORT = struct.Struct(">H")
_KEY = struct.Struct(">16sHBx")
_ENDPOINT = struct.Struct(">16sH2x")  # the last word filled

# In the order in which they are written: what is led to before what leads there.
ENDPOINTS, MEMBERS, NAMES = "endpoints", "members", "names"
RANGES, PODS, ADDRESSES, LINKS, NODES = "ranges", "pods", "addresses", "links", "nodes"
CLUSTER_IPS, FRONTENDS = "cluster_ips", "frontends"
WRITTEN = (ENDPOINTS, MEMBERS, NAMES, RANGES, PODS, ADDRESSES, LINKS, NODES, CLUSTER_IPS, FRONTENDS)

Maps = Mapping[str, Mapping[bytes, bytes]]


class Flag(IntFlag):
    """Of a frontend."""

    EXTERNAL = 1
    LOCAL = 2
    RESTRICTED = 4
    SERVED = 8
    BY_TABLES = 16


FLAGS = tuple(map(Flag, range(32)))  # by number: operators of an enumeration cost ten times those of numbers


class NodeFlag(IntFlag):
    MASQUERADE_ALL = 1
    KNOWS_PODS = 2
    PODS_BY_LINK = 4


class FrontendKey(Value):
    """`address` "": the node's own addresses."""

    family: Family
    address: str
    protocol: str
    port: int


class Frontend(Value):
    """Numbers of the sets of backends, 0 for none, and how many backends they have."""

    cluster: int = 0
    local: int = 0
    clusters: int = 0
    locals: int = 0
    affinity: int = 0
    flags: Flag = Flag(0)


class Node(Value):
    cookie: int
    address: str  # "": nobody is masqueraded
    flags: NodeFlag
    refused_mark: int


def pack_address(text: str) -> bytes:
    return inet_pton(AF_INET6, text) if ":" in text else MAPPED + inet_pton(AF_INET, text)


def unpack_address(data: bytes) -> str:
    found = IPv6Address(data)
    return str(found.ipv4_mapped or found)


def family_of(address: bytes) -> Family:
    return 4 if address.startswith(MAPPED) else 6


def pack_number(number: int) -> bytes:
    return _NUMBER.pack(number)


def unpack_number(data: bytes) -> int:
    return int(_NUMBER.unpack(data)[0])


def pack_frontend_key(family: Family, address: str, protocol: str, port: int) -> bytes:
    where = pack_address(address) if address else MAPPED + bytes(4) if family == 4 else bytes(ADDRESS)
    return _KEY.pack(where, port, PROTOCOLS[protocol])


def unpack_frontend_key(key: bytes) -> FrontendKey:
    address, (port,), protocol = key[:ADDRESS], _PORT.unpack_from(key, ADDRESS), key[ADDRESS + 2]
    family = family_of(address)
    anywhere = not any(address[12:] if family == 4 else address)
    return FrontendKey(family, "" if anywhere else unpack_address(address), PROTOCOL_NAMES[protocol], int(port))


def pack_frontend(frontend: Frontend) -> bytes:
    numbers = frontend.cluster, frontend.local, frontend.clusters, frontend.locals, frontend.affinity
    return _FRONTEND.pack(*numbers, frontend.flags)


def unpack_frontend(value: bytes) -> Frontend:
    cluster, local, clusters, local_ones, affinity, flags = _FRONTEND.unpack(value)
    return Frontend(cluster, local, clusters, local_ones, affinity, Flag(flags))


def pack_endpoint(address: str, port: int) -> bytes:
    return _ENDPOINT.pack(pack_address(address), port)


def unpack_endpoint(value: bytes) -> tuple[str, int]:
    return unpack_address(value[:ADDRESS]), int(_PORT.unpack_from(value, ADDRESS)[0])


def pack_place(number: int, index: int) -> bytes:
    """The key of one endpoint of a set."""
    return _PAIR.pack(number, index)


def unpack_place(key: bytes) -> tuple[int, int]:
    number, index = _PAIR.unpack(key)
    return number, index


def pack_prefix(prefix: str, before: bytes = b"") -> bytes:
    """The key of a trie: how many bits count, then `before` and the prefix."""
    network = ip_network(prefix)
    bits = 8 * (len(before) + ADDRESS) - network.max_prefixlen + network.prefixlen
    return _NUMBER.pack(bits) + before + pack_address(str(network.network_address))


def unpack_prefix(key: bytes) -> str:
    address = unpack_address(key[-ADDRESS:])
    length = unpack_number(key[:4]) - 8 * (len(key) - 4 - ADDRESS) - (96 if family_of(key[-ADDRESS:]) == 4 else 0)
    return f"{address}/{length}"


def covers(key: bytes, asked: bytes) -> bool:
    """Whether the key of a trie covers what is asked for."""
    bits, held = unpack_number(key[:4]), key[4:]
    spare = 8 * len(held) - bits
    return int.from_bytes(held, "big") >> spare == int.from_bytes(asked, "big") >> spare


def pack_node(node: Node) -> bytes:
    address = pack_address(node.address) if node.address else bytes(ADDRESS)
    return _NODE.pack(node.cookie, address, node.flags, node.refused_mark)


def unpack_node(value: bytes) -> Node:
    cookie, address, flags, mark = _NODE.unpack(value)
    return Node(cookie, unpack_address(address) if any(address) else "", NodeFlag(flags), mark)


def pack_name(name: str) -> bytes:
    return name.encode()[:NAME].ljust(NAME, b"\0")


def unpack_name(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def index_of(family: Family) -> bytes:
    """The family's key in `nodes`."""
    return _NUMBER.pack(0 if family == 4 else 1)


def of_family(name: str, entries: Iterable[tuple[bytes, bytes]], family: Family) -> dict[bytes, bytes]:
    """The entries of a map that are of this family; links are of both. 70,000 at each look, so nothing is unpacked."""
    if name in {ENDPOINTS, MEMBERS, NAMES}:
        high = 3 if sys.byteorder == "little" else 0  # the byte with the highest bit of a set's number
        return {key: value for key, value in entries if (key[high] > 127) == (family == 6)}
    if name == NODES:
        return {key: value for key, value in entries if key == index_of(family)}
    if name == LINKS:
        return dict(entries)
    start = 4 if name in {RANGES, PODS} else 0
    return {key: value for key, value in entries if key.startswith(MAPPED, start) == (family == 4)}
