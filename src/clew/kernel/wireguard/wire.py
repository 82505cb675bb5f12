"""WireGuard's generic netlink messages, packed and unpacked. Pure. Source: include/uapi/linux/wireguard.h."""

import base64
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from clew.base.addresses import with_port
from clew.kernel.nfnetlink import attribute, attributes, nested
from clew.kernel.wireguard.port import Device, Peer

NAME = "wireguard"
GET_DEVICE, SET_DEVICE = 0, 1
DEVICE_IFNAME, DEVICE_PRIVATE_KEY, DEVICE_PUBLIC_KEY, DEVICE_LISTEN_PORT, DEVICE_PEERS = 2, 3, 4, 6, 8
PEER_PUBLIC_KEY, PEER_FLAGS, PEER_ENDPOINT, PEER_ALLOWEDIPS = 1, 3, 4, 9
REMOVE_ME, REPLACE_ALLOWEDIPS = 1, 2
ALLOWED_FAMILY, ALLOWED_ADDRESS, ALLOWED_LENGTH = 1, 2, 3
BATCH = 40  # peers of one message: an attribute holds 64 KiB


def named(name: str) -> bytes:
    return attribute(DEVICE_IFNAME, name.encode() + b"\0")


def own(private_key: str, port: int) -> bytes:
    return attribute(DEVICE_PRIVATE_KEY, base64.b64decode(private_key)) + attribute(
        DEVICE_LISTEN_PORT, struct.pack("=H", port)
    )


def peers(found: Iterable[Peer]) -> bytes:
    """Each whole: its allowed addresses replace those that it has."""
    return nested(DEVICE_PEERS, b"".join(nested(0, _peer(peer)) for peer in found))


def removals(public_keys: Iterable[str]) -> bytes:
    flags = attribute(PEER_FLAGS, struct.pack("=I", REMOVE_ME))
    return nested(DEVICE_PEERS, b"".join(nested(0, _key(key) + flags) for key in public_keys))


def read(parts: Iterable[bytes]) -> Device:
    """A device from all the messages of its dump; a peer with many addresses goes on in the next message."""
    public_key, port = "", 0
    found: dict[str, Peer] = {}
    for data in parts:
        for kind, start, end in attributes(data, 0, len(data)):
            if kind == DEVICE_PUBLIC_KEY and any(data[start:end]):
                public_key = base64.b64encode(data[start:end]).decode()
            elif kind == DEVICE_LISTEN_PORT:
                (port,) = struct.unpack_from("=H", data, start)
            elif kind == DEVICE_PEERS:
                for _, first, last in attributes(data, start, end):
                    peer = _read_peer(data, first, last)
                    before = found.get(peer.public_key)
                    allowed = (*(before.allowed if before else ()), *peer.allowed)
                    endpoint = peer.endpoint or (before.endpoint if before else "")
                    found[peer.public_key] = Peer(peer.public_key, endpoint, tuple(sorted(allowed)))
    return Device(public_key, port, tuple(found[key] for key in sorted(found)))


def _key(public_key: str) -> bytes:
    return attribute(PEER_PUBLIC_KEY, base64.b64decode(public_key))


def _peer(peer: Peer) -> bytes:
    made = _key(peer.public_key) + attribute(PEER_FLAGS, struct.pack("=I", REPLACE_ALLOWEDIPS))
    if peer.endpoint:
        made += attribute(PEER_ENDPOINT, _sockaddr(peer.endpoint))
    return made + nested(PEER_ALLOWEDIPS, b"".join(nested(0, _allowed(prefix)) for prefix in peer.allowed))


def _allowed(prefix: str) -> bytes:
    found = ip_network(prefix)
    family = socket.AF_INET6 if found.version == 6 else socket.AF_INET
    return (
        attribute(ALLOWED_FAMILY, struct.pack("=H", family))
        + attribute(ALLOWED_ADDRESS, found.network_address.packed)
        + attribute(ALLOWED_LENGTH, bytes((found.prefixlen,)))
    )


def _sockaddr(endpoint: str) -> bytes:
    host, _, port = endpoint.rpartition(":")
    if host.startswith("["):
        packed = socket.inet_pton(socket.AF_INET6, host[1:-1])
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", int(port), 0) + packed + bytes(4)
    packed = socket.inet_pton(socket.AF_INET, host)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", int(port)) + packed + bytes(8)


def _read_peer(data: bytes, start: int, end: int) -> Peer:
    key = endpoint = ""
    allowed: list[str] = []
    for kind, first, last in attributes(data, start, end):
        if kind == PEER_PUBLIC_KEY:
            key = base64.b64encode(data[first:last]).decode()
        elif kind == PEER_ENDPOINT:
            endpoint = _read_sockaddr(data[first:last])
        elif kind == PEER_ALLOWEDIPS:
            allowed += [_read_allowed(data, begin, finish) for _, begin, finish in attributes(data, first, last)]
    return Peer(key, endpoint, tuple(allowed))


def _read_sockaddr(data: bytes) -> str:
    (family,) = struct.unpack_from("=H", data)
    (port,) = struct.unpack_from("!H", data, 2)
    if family == socket.AF_INET6:
        return with_port(str(ip_address(data[8:24])), port)
    return with_port(str(ip_address(data[4:8])), port)


def _read_allowed(data: bytes, start: int, end: int) -> str:
    fields = {kind: data[first:last] for kind, first, last in attributes(data, start, end)}
    return f"{ip_address(fields[ALLOWED_ADDRESS])}/{fields[ALLOWED_LENGTH][0]}"
