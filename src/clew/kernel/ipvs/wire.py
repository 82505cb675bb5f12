"""IPVS messages in bytes: values to attributes and back. Pure; used by real.py.

Source: include/uapi/linux/ip_vs.h.
"""

import struct
from collections.abc import Mapping
from ipaddress import ip_address

from clew.base.addresses import Family
from clew.kernel.ipvs.port import (
    Change,
    Delete,
    DeleteReal,
    Forward,
    Put,
    PutReal,
    RealServer,
    Timeouts,
    Transport,
    VirtualKey,
    VirtualServer,
)
from clew.kernel.nfnetlink import attribute, attributes, nested

NAME = "IPVS"
# IPVS_CMD_*
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
SET_CONFIG, GET_CONFIG, SET_INFO, GET_INFO = range(12, 16)
# IPVS_CMD_ATTR_*
SERVICE, DEST, DAEMON, TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP = range(1, 7)
# IPVS_SVC_ATTR_*
AF, PROTOCOL, ADDR, PORT, FWMARK, SCHED_NAME, FLAGS, TIMEOUT, NETMASK = range(1, 10)
# IPVS_DEST_ATTR_*
(
    DEST_ADDR,
    DEST_PORT,
    FWD_METHOD,
    WEIGHT,
    U_THRESH,
    L_THRESH,
    ACTIVE_CONNS,
    INACT_CONNS,
    _PERSIST,
    _STATS,
    ADDR_FAMILY,
) = range(1, 12)
PERSISTENT, PORT_IN_HASH = 0x1, 0x10  # IP_VS_SVC_F_PERSISTENT, IP_VS_SVC_F_SCHED2
FORWARD_MASK = 0x7
FORWARDS: tuple[Forward, ...] = ("masquerade", "local", "tunnel", "route")  # IP_VS_CONN_F_*

FAMILIES: dict[Family, int] = {4: 2, 6: 10}
FAMILY_OF: dict[int, Family] = {2: 4, 10: 6}
PROTOCOLS: dict[Transport, int] = {"TCP": 6, "UDP": 17, "SCTP": 132}
PROTOCOL_OF: dict[int, Transport] = {number: name for name, number in PROTOCOLS.items()}

_FLAGS = struct.Struct("=II")


def request(change: Change) -> tuple[int, bytes]:
    """Command and attributes."""
    match change:
        case Put(key=key, server=server, known=known):
            return SET_SERVICE if known else NEW_SERVICE, nested(SERVICE, _key(key) + _server(key, server))
        case Delete(key=key):
            return DEL_SERVICE, of_service(key)
        case PutReal(key=key, server=real, known=known):
            body = of_service(key) + nested(DEST, _real(key.family, real))
            return SET_DEST if known else NEW_DEST, body
        case DeleteReal(key=key, address=address, port=port):
            return DEL_DEST, of_service(key) + nested(DEST, _real_key(key.family, address, port))


def of_service(key: VirtualKey) -> bytes:
    return nested(SERVICE, _key(key))


def _key(key: VirtualKey) -> bytes:
    return (
        _u16(AF, FAMILIES[key.family])
        + _u16(PROTOCOL, PROTOCOLS[key.protocol])
        + attribute(ADDR, ip_address(key.address).packed.ljust(16, b"\0"))
        + attribute(PORT, key.port.to_bytes(2, "big"))
    )


def _server(key: VirtualKey, server: VirtualServer) -> bytes:
    flags = (PERSISTENT if server.persistence else 0) | (PORT_IN_HASH if server.port_in_hash else 0)
    whole = b"\xff\xff\xff\xff" if key.family == 4 else (128).to_bytes(4, "little")  # each client is remembered alone
    return (
        attribute(SCHED_NAME, server.scheduler.encode() + b"\0")
        + attribute(FLAGS, _FLAGS.pack(flags, 0xFFFFFFFF))
        + _u32(TIMEOUT, server.persistence)
        + attribute(NETMASK, whole)
    )


def _real_key(family: Family, address: str, port: int) -> bytes:
    return (
        attribute(DEST_ADDR, ip_address(address).packed.ljust(16, b"\0"))
        + attribute(DEST_PORT, port.to_bytes(2, "big"))
        + _u16(ADDR_FAMILY, FAMILIES[family])
    )


def _real(family: Family, real: RealServer) -> bytes:
    return (
        _real_key(family, real.address, real.port)
        + _u32(FWD_METHOD, FORWARDS.index(real.forward))
        + _u32(WEIGHT, real.weight)
        + _u32(U_THRESH, 0)
        + _u32(L_THRESH, 0)
    )


def timeouts(wanted: Timeouts) -> bytes:
    return _u32(TIMEOUT_TCP, wanted.tcp) + _u32(TIMEOUT_TCP_FIN, wanted.tcp_fin) + _u32(TIMEOUT_UDP, wanted.udp)


def read_timeouts(part: bytes) -> Timeouts:
    fields = _fields(part, 0, len(part))
    return Timeouts(*(_number(fields, kind) for kind in (TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP)))


def read_service(part: bytes) -> tuple[VirtualKey, VirtualServer] | None:
    """None: told by a firewall mark, or of a protocol that is none of ours."""
    fields = _inside(part, SERVICE)
    family = FAMILY_OF[_number(fields, AF)]
    protocol = PROTOCOL_OF.get(_number(fields, PROTOCOL))
    if FWMARK in fields or protocol is None:
        return None
    key = VirtualKey(family, protocol, _address(fields[ADDR], family), int.from_bytes(fields[PORT], "big"))
    flags, _ = _FLAGS.unpack(fields[FLAGS])
    persistence = _number(fields, TIMEOUT) if flags & PERSISTENT else 0
    scheduler = fields[SCHED_NAME].rstrip(b"\0").decode()
    return key, VirtualServer(scheduler, persistence, bool(flags & PORT_IN_HASH))


def read_real(part: bytes, family: Family) -> RealServer:
    fields = _inside(part, DEST)
    family = FAMILY_OF.get(_number(fields, ADDR_FAMILY), family)
    return RealServer(
        _address(fields[DEST_ADDR], family),
        int.from_bytes(fields[DEST_PORT], "big"),
        _number(fields, WEIGHT),
        FORWARDS[_number(fields, FWD_METHOD) & FORWARD_MASK],
        _number(fields, ACTIVE_CONNS),
        _number(fields, INACT_CONNS),
    )


def _inside(part: bytes, wanted: int) -> Mapping[int, bytes]:
    for kind, start, end in attributes(part, 0, len(part)):
        if kind == wanted:
            return _fields(part, start, end)
    return {}


def _fields(part: bytes, start: int, end: int) -> dict[int, bytes]:
    return {kind: part[first:last] for kind, first, last in attributes(part, start, end)}


def _number(fields: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(fields.get(kind, b""), "little")


def _address(data: bytes, family: Family) -> str:
    return str(ip_address(data[:16] if family == 6 else data[:4]))


def _u16(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(2, "little"))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "little"))
