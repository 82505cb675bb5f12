"""Which sets and maps the table has, and how their keys and values look in bytes.

The layout in one breath: an address (or a node port) leads to a *handle*, which is the number of a set of backends in
its high bits and a *way* in its low ones; the way leads to a chain that knows how many backends there are; number and
a random index lead to one backend. Handles travel in the packet's priority field, the one 32-bit register of a packet
that neither routing nor users' rules read between the hooks where this happens; marks are left alone. All of it is
elements: a change of a service never touches a rule.

Pure. The packing is nftables' own: fields padded to four bytes, in network order, but priorities and random numbers in
the machine's.
"""

import struct
from binascii import crc32
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Literal

from clew.base.value import Value
from clew.dataplane.nftables.objects import IpWord, SetDeclaration

TABLE = "clew-proxy"  # by this name a restarted agent knows its own

WAY_BITS = 14
WAY_MASK = (1 << WAY_BITS) - 1
SET_MASK = 0xFFFFFFFF ^ WAY_MASK
SETS = 1 << 32 - WAY_BITS  # numbers of sets of backends, 0 unused
STICKY = 1 << WAY_BITS - 1  # ways from here on keep clients at their backend; below, a way is the number of backends

Kind = Literal["address", "protocol", "port", "number"]
LENGTHS: Mapping[Kind, int] = {"protocol": 4, "port": 4, "number": 4}
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

_NUMBER = struct.Struct("=I")


class SetLayout(Value):
    """One set or map: fields of its key and value, and how it is declared (`{ip}`: ip or ip6, `{addr}`: its type)."""

    name: str
    key: tuple[Kind, ...]
    data: tuple[Kind, ...]
    declaration: tuple[str, ...]
    meaning: str
    interval: bool = False
    kept: bool = True  # False: the packets write it, not we

    def length(self, fields: tuple[Kind, ...], ip: IpWord) -> int:
        return sum((16 if ip == "ip6" else 4) if field == "address" else 4 for field in fields)

    def declare(self, ip: IpWord) -> SetDeclaration:
        types = {"ip": ip, "addr": "ipv6_addr" if ip == "ip6" else "ipv4_addr"}
        return SetDeclaration(
            "map" if self.data else "set",
            self.name,
            (*(line.format(**types) for line in self.declaration), f'comment "{self.meaning}"'),
        )


WHERE: tuple[Kind, ...] = ("address", "protocol", "port")
HERE: tuple[Kind, ...] = ("protocol", "port")
RANGE: tuple[Kind, ...] = ("address", "protocol")  # any protocol: only a key of several fields has its end beside it
_WHERE = "{addr} . inet_proto . inet_service"
_HERE = "inet_proto . inet_service"
# "type" knows no plain number. Nor is the client itself a key: for an IPv6 address beside the set's number, nft 1.0.6
# lets key and value of an update overlap, or aborts the process. Two clients of one hash share a backend, as they may.
_CHOICE = "typeof meta priority . numgen random mod 4"
_BACKEND = "{ip} daddr . ct original proto-dst"  # th dport would tie the rules that use it to one protocol


def _frontends(name: str, meaning: str) -> SetLayout:
    return SetLayout(name, WHERE, ("number",), (f"type {_WHERE} : classid",), meaning)


def _ports(name: str, meaning: str) -> SetLayout:
    return SetLayout(name, HERE, ("number",), (f"type {_HERE} : classid",), meaning)


LAYOUT: tuple[SetLayout, ...] = (
    _frontends("service-ips", "cluster addresses: the handle of their backends"),
    _frontends("external-ips", "outside addresses: the handle of their backends"),
    _frontends("local-external-ips", "outside addresses that use local backends only: the handle for clients inside"),
    _frontends("local-endpoints", "the same addresses: the handle of the backends here"),
    _ports("node-ports", "ports on the node: the handle of their backends"),
    _ports("local-node-ports", "ports that use local backends only: the handle for clients inside"),
    _ports("local-node-port-endpoints", "the same ports: the handle of the backends here"),
    SetLayout(
        "endpoints", ("number", "number"), ("address", "port"), (f"{_CHOICE} : {_BACKEND}",),
        "set and index: a backend",
    ),
    SetLayout(
        "sticky-choices", ("number", "number"), ("number",), (f"{_CHOICE} : meta priority",),
        "set and index: a slot, where clients keep their backend",
    ),
    SetLayout(
        "slots", ("number",), ("address", "port"), ("type classid : {addr} . inet_service",),
        "slot: the backend in it",
    ),
    SetLayout(
        "affinity", ("number", "number"), ("number",),
        (f"{_CHOICE} : meta priority", "size 65536", "flags dynamic,timeout"),
        "set and hash of the client: the slot it keeps", kept=False,
    ),
    SetLayout("cluster-ips", ("address",), (), ("type {addr}",), "every cluster address, whatever its ports"),
    SetLayout(
        "service-ranges", RANGE, (), ("type {addr} . inet_proto", "flags interval"),
        "where cluster addresses come from: what no service has is dropped", interval=True,
    ),
    SetLayout("refused-ips", WHERE, (), (f"type {_WHERE}",), "addresses for which nobody answers"),
    SetLayout("dropped-ips", WHERE, (), (f"type {_WHERE}",), "addresses for which nobody answers on this node"),
    SetLayout("refused-node-ports", HERE, (), (f"type {_HERE}",), "ports for which nobody answers"),
    SetLayout("dropped-node-ports", HERE, (), (f"type {_HERE}",), "ports for which nobody answers on this node"),
    SetLayout("restricted", WHERE, (), (f"type {_WHERE}",), "addresses with source ranges"),
    SetLayout(
        "source-ranges", (*WHERE, "address"), (), (f"type {_WHERE} . {{addr}}", "flags interval"),
        "who may use them", interval=True,
    ),
    SetLayout(
        "hairpin", ("address", "address"), (), ("type {addr} . {addr}",),
        "backends that may reach themselves through a service",
    ),
)  # fmt: skip
# The table's comment names its layout: a table with another one is made anew, whatever a listing of it looks like.
VERSION = f"{crc32(repr([(each.name, each.declaration) for each in LAYOUT]).encode()):08x}"
COMMENT = f"services of Kubernetes, kept by clew (layout {VERSION}); changes made by hand are undone"
SETS_BY_NAME: Mapping[str, SetLayout] = {layout.name: layout for layout in LAYOUT}
KEPT: tuple[SetLayout, ...] = tuple(layout for layout in LAYOUT if layout.kept)


def pack_address(text: str) -> bytes:
    if ":" in text:
        return ip_address(text).packed
    return bytes(map(int, text.split(".")))


def unpack_address(data: bytes) -> str:
    return str(ip_address(data))


def pack_port(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\0\0"


def pack_number(number: int) -> bytes:
    return _NUMBER.pack(number)


def unpack_number(data: bytes) -> int:
    return int(_NUMBER.unpack_from(data)[0])


_PROTOCOL_BYTES = {name: bytes((number, 0, 0, 0)) for name, number in PROTOCOLS.items()}


def pack_here(protocol: str, port: int) -> bytes:
    """The key of a node port."""
    return _PROTOCOL_BYTES[protocol] + pack_port(port)


def pack_where(address: str, protocol: str, port: int) -> bytes:
    """The key of an address's port."""
    return pack_address(address) + _PROTOCOL_BYTES[protocol] + pack_port(port)


def pack_source_range(where: bytes, prefix: str) -> bytes:
    """First and last key of a range of clients that may use an address's port."""
    network = ip_network(prefix)
    return where + network.network_address.packed + where + network.broadcast_address.packed


def pack_range(prefix: str) -> bytes:
    """First and last key of a range of addresses, whatever the protocol."""
    network = ip_network(prefix)
    return network.network_address.packed + bytes(4) + network.broadcast_address.packed + b"\xff\0\0\0"


def pack_backend(address: str, port: int) -> bytes:
    return pack_address(address) + pack_port(port)


Item = str | int


def unpack(fields: Iterable[Kind], data: bytes, ip: IpWord) -> tuple[Item, ...]:
    """The fields of a key or value in words: addresses and protocols as text, ports and numbers as integers."""
    items: list[Item] = []
    offset = 0
    for field in fields:
        if field == "address":
            size = 16 if ip == "ip6" else 4
            items.append(unpack_address(data[offset : offset + size]))
            offset += size
            continue
        if field == "protocol":
            items.append(PROTOCOL_NAMES.get(data[offset], str(data[offset])))
        elif field == "port":
            items.append(int.from_bytes(data[offset : offset + 2], "big"))
        else:
            items.append(unpack_number(data[offset : offset + 4]))
        offset += 4
    return tuple(items)


def pack(fields: Iterable[Kind], items: Iterable[Item]) -> bytes:
    """The other way round."""
    return b"".join(_pack_item(field, item) for field, item in zip(fields, items, strict=True))


def _pack_item(field: Kind, item: Item) -> bytes:
    if field == "address":
        return pack_address(str(item))
    if field == "protocol":
        return _PROTOCOL_BYTES[str(item)]
    return pack_port(int(item)) if field == "port" else pack_number(int(item))
