"""Addresses, neighbours and forwarding entries to and from rtnetlink bytes (linux/if_addr.h, neighbour.h). Pure."""

import socket
from collections.abc import Callable
from struct import Struct

from clew.kernel.netlink import wire
from clew.kernel.netlink.values import Address, Fdb, Neighbour

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

ADDRESS = Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, link
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD, IFA_F_TENTATIVE, IFA_F_NOPREFIXROUTE = 0x02, 0x40, 0x200
SCOPE_LINK = 253

NEIGHBOUR = Struct("=BBHiHBB")  # ndmsg: family, padding, link, state, flags, type
NDA_DST, NDA_LLADDR, NDA_MASTER = 1, 2, 9
NUD_REACHABLE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x40, 0x80
NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # every state in which the MAC is worth a word
NTF_SELF, NTF_MASTER, NTF_PROXY = 2, 4, 8
AF_BRIDGE = 7

IndexOf = Callable[[str], int]
NameOf = Callable[[int], str]


def encode_address(address: Address, index_of: IndexOf) -> bytes:
    ip, bits = wire.split_prefix(address.address)
    flags = (IFA_F_NODAD if address.nodad else 0) | (IFA_F_NOPREFIXROUTE if address.noprefixroute else 0)
    scope = SCOPE_LINK if address.link_local else 0
    head = ADDRESS.pack(wire.family_of(ip), bits, 0, scope, index_of(address.dev))
    return head + wire.ip(IFA_LOCAL, ip) + wire.ip(IFA_ADDRESS, ip) + (wire.u32(IFA_FLAGS, flags) if flags else b"")


def decode_address(body: memoryview, name_of: NameOf) -> Address:
    _family, bits, flags, scope, index = ADDRESS.unpack_from(body)
    found = wire.attributes(body, ADDRESS.size)
    flags = wire.get_u32(found, IFA_FLAGS, flags)
    own = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
    return Address(
        address=f"{wire.unpack_ip(own)}/{bits}" if own is not None else "",
        dev=name_of(index),
        nodad=bool(flags & IFA_F_NODAD),
        noprefixroute=bool(flags & IFA_F_NOPREFIXROUTE),
        tentative=bool(flags & IFA_F_TENTATIVE),
        link_local=scope == SCOPE_LINK,
    )


def query_addresses() -> bytes:
    return ADDRESS.pack(0, 0, 0, 0, 0)


def encode_neighbour(entry: Neighbour, index_of: IndexOf) -> bytes:
    state = NUD_PERMANENT if entry.permanent else NUD_REACHABLE
    flags = NTF_PROXY if entry.proxy else 0
    head = NEIGHBOUR.pack(wire.family_of(entry.address), 0, 0, index_of(entry.dev), state, flags, 0)
    return head + wire.ip(NDA_DST, entry.address) + (wire.mac(NDA_LLADDR, entry.mac) if entry.mac else b"")


def decode_neighbour(body: memoryview, name_of: NameOf) -> Neighbour | None:
    """None for an entry that says nothing: still asked for, failed, or multicast."""
    _family, _pad, _pad2, index, state, flags, _type = NEIGHBOUR.unpack_from(body)
    proxy = bool(flags & NTF_PROXY)
    if not proxy and (not state & NUD_KNOWN or state & NUD_NOARP):
        return None
    found = wire.attributes(body, NEIGHBOUR.size)
    permanent = proxy or bool(state & NUD_PERMANENT)
    return Neighbour(
        wire.get_ip(found, NDA_DST),
        name_of(index),
        mac=wire.get_mac(found, NDA_LLADDR),
        permanent=permanent,
        proxy=proxy,
    )


def query_neighbours(family: int, *, proxy: bool = False) -> bytes:
    return NEIGHBOUR.pack(family, 0, 0, 0, 0, NTF_PROXY if proxy else 0, 0)


def encode_fdb(entry: Fdb, index_of: IndexOf) -> bytes:
    flags = NTF_MASTER if entry.of_master else NTF_SELF
    state = NUD_PERMANENT if entry.permanent else NUD_REACHABLE
    head = NEIGHBOUR.pack(AF_BRIDGE, 0, 0, index_of(entry.dev), state, flags, 0)
    return head + wire.mac(NDA_LLADDR, entry.mac) + (wire.ip(NDA_DST, entry.remote) if entry.remote else b"")


def decode_fdb(body: memoryview, name_of: NameOf) -> Fdb:
    _family, _pad, _pad2, index, state, flags, _type = NEIGHBOUR.unpack_from(body)
    found = wire.attributes(body, NEIGHBOUR.size)
    return Fdb(
        mac=wire.get_mac(found, NDA_LLADDR),
        dev=name_of(index),
        remote=wire.get_ip(found, NDA_DST),
        permanent=bool(state & NUD_PERMANENT),
        of_master=not flags & NTF_SELF,
    )


def query_fdb() -> bytes:
    return query_neighbours(AF_BRIDGE)


FAMILIES = (socket.AF_INET, socket.AF_INET6)
