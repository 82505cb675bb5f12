"""Traffic control to and from rtnetlink bytes: disciplines and filters (linux/pkt_sched.h, pkt_cls.h). Pure.

A discipline's own options are added to `encode_qdisc` and `decode_qdisc` kind by kind; a filter is one BPF program that
decides by itself (direct action), or a redirection (u32 with a match of everything, action mirred), for every protocol.
"""

import socket
from collections.abc import Callable
from struct import Struct

from clew.kernel.netlink import wire
from clew.kernel.netlink.values import Direction, Filter, Qdisc, Redirect, TokenBucket

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

TRAFFIC = Struct("=BBHiIII")  # tcmsg: family, padding, link, handle, parent, info
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_TAG, TCA_BPF_ID = 6, 7, 8, 10, 11
TCA_TBF_PARMS, TCA_TBF_RATE64, TCA_TBF_BURST = 1, 4, 6
TCA_U32_SEL, TCA_U32_ACT = 5, 7
TCA_ACT_KIND, TCA_ACT_OPTIONS, TCA_MIRRED_PARMS = 1, 2, 2
RATE = Struct("=BBHhHI")  # tc_ratespec: cell, link layer, overhead, alignment, least size, bytes a second
TBF = Struct("=III")  # the rest of tc_tbf_qopt: limit, buffer, mtu
U64 = Struct("=Q")
LARGEST = 0xFFFFFFFF
ETHERNET = 1  # TC_LINKLAYER_ETHERNET
SELECTOR = Struct("=BBBxHHhhI")  # tc_u32_sel without its keys
KEY = Struct("=IIii")  # tc_u32_key: mask, value, offset, mask of the offset
MIRRED = Struct("=IIiiiiI")  # tc_mirred: index, capabilities, action, two counts, what to do, link
TERMINAL = 1  # TC_U32_TERMINAL
STOLEN, REDIRECT = 4, 1  # TC_ACT_STOLEN, TCA_EGRESS_REDIR
DIRECT_ACTION = 1
HOOKS: dict[Direction, int] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
ALL_PROTOCOLS = socket.htons(3)

IndexOf = Callable[[str], int]
NameOf = Callable[[int], str]


def encode_qdisc(qdisc: Qdisc, index_of: IndexOf) -> bytes:
    head = TRAFFIC.pack(0, 0, 0, index_of(qdisc.dev), qdisc.handle, qdisc.parent, 0)
    options = wire.nested(TCA_OPTIONS, *_encode_bucket(qdisc.bucket)) if qdisc.bucket else b""
    return head + wire.text(TCA_KIND, qdisc.kind) + options


def _encode_bucket(bucket: TokenBucket) -> list[bytes]:
    """The burst is said in bytes (TCA_TBF_BURST), so the kernel works out the time itself."""
    rate = RATE.pack(0, ETHERNET, 0, -1, 0, min(bucket.rate, LARGEST))
    parts = [wire.attribute(TCA_TBF_PARMS, rate + bytes(RATE.size) + TBF.pack(bucket.limit, 0, 0))]
    parts.append(wire.u32(TCA_TBF_BURST, bucket.burst))
    if bucket.rate > LARGEST:
        parts.append(wire.attribute(TCA_TBF_RATE64, U64.pack(bucket.rate)))
    return parts


def _decode_bucket(options: wire.Attributes) -> TokenBucket | None:
    if TCA_TBF_PARMS not in options:
        return None
    said = options[TCA_TBF_PARMS]
    rate = int(RATE.unpack_from(said)[-1])
    if TCA_TBF_RATE64 in options:
        rate = int(U64.unpack_from(options[TCA_TBF_RATE64])[0])
    return TokenBucket(rate, int(TBF.unpack_from(said, 2 * RATE.size)[0]))


def decode_qdisc(body: memoryview, name_of: NameOf) -> Qdisc:
    _family, _pad, _pad2, index, handle, parent, _info = TRAFFIC.unpack_from(body)
    found = wire.attributes(body, TRAFFIC.size)
    kind = wire.get_text(found, TCA_KIND)
    bucket = _decode_bucket(wire.attributes(found[TCA_OPTIONS])) if kind == "tbf" and TCA_OPTIONS in found else None
    return Qdisc(name_of(index), kind, handle, parent, bucket)


def query_qdiscs() -> bytes:
    return TRAFFIC.pack(0, 0, 0, 0, 0, 0, 0)


def encode_filter(entry: Filter, index_of: IndexOf, *, delete: bool = False) -> bytes:
    info = entry.priority << 16 | ALL_PROTOCOLS
    head = TRAFFIC.pack(0, 0, 0, index_of(entry.dev), entry.handle, HOOKS[entry.direction], info)
    body = head + wire.text(TCA_KIND, "bpf")
    if delete:
        return body
    return body + wire.nested(
        TCA_OPTIONS,
        wire.u32(TCA_BPF_FD, entry.program),
        wire.text(TCA_BPF_NAME, entry.name),
        wire.u32(TCA_BPF_FLAGS, DIRECT_ACTION),
    )


def decode_filter(body: memoryview, name_of: NameOf, direction: Direction) -> Filter | None:
    """None for another kind than bpf, and for the line that stands for all filters of one priority."""
    _family, _pad, _pad2, index, handle, _parent, info = TRAFFIC.unpack_from(body)
    found = wire.attributes(body, TRAFFIC.size)
    if wire.get_text(found, TCA_KIND) != "bpf" or TCA_OPTIONS not in found:
        return None
    options = wire.attributes(found[TCA_OPTIONS])
    return Filter(
        name_of(index),
        direction,
        priority=info >> 16,
        handle=handle,
        name=wire.get_text(options, TCA_BPF_NAME),
        program_id=wire.get_u32(options, TCA_BPF_ID),
        tag=bytes(options.get(TCA_BPF_TAG, b"")).hex(),
    )


def encode_redirect(entry: Redirect, index_of: IndexOf, *, delete: bool = False) -> bytes:
    """Deleting takes every filter of the priority."""
    info = entry.priority << 16 | ALL_PROTOCOLS
    body = TRAFFIC.pack(0, 0, 0, index_of(entry.dev), 0, HOOKS["ingress"], info) + wire.text(TCA_KIND, "u32")
    if delete:
        return body
    mirred = MIRRED.pack(0, 0, STOLEN, 0, 0, REDIRECT, index_of(entry.to))
    action = wire.nested(
        1,
        wire.text(TCA_ACT_KIND, "mirred"),
        wire.nested(TCA_ACT_OPTIONS, wire.attribute(TCA_MIRRED_PARMS, mirred)),
    )
    everything = SELECTOR.pack(TERMINAL, 0, 1, 0, 0, 0, 0, 0) + KEY.pack(0, 0, 0, 0)
    selector = wire.attribute(TCA_U32_SEL, everything)
    return body + wire.nested(TCA_OPTIONS, selector, wire.nested(TCA_U32_ACT, action))


def decode_redirect(body: memoryview, name_of: NameOf) -> Redirect | None:
    """None for any other filter, and for the hash tables that the kernel lists beside one of these."""
    _family, _pad, _pad2, index, _handle, _parent, info = TRAFFIC.unpack_from(body)
    found = wire.attributes(body, TRAFFIC.size)
    options = wire.attributes(found[TCA_OPTIONS]) if TCA_OPTIONS in found else {}
    if wire.get_text(found, TCA_KIND) != "u32" or TCA_U32_ACT not in options:
        return None
    for action in wire.attributes(options[TCA_U32_ACT]).values():
        said = wire.attributes(action)
        if wire.get_text(said, TCA_ACT_KIND) == "mirred":
            parameters = wire.attributes(said[TCA_ACT_OPTIONS])[TCA_MIRRED_PARMS]
            return Redirect(name_of(index), name_of(int(MIRRED.unpack_from(parameters)[-1])), info >> 16)
    return None


def query_filters(index: int, direction: Direction) -> bytes:
    return TRAFFIC.pack(0, 0, 0, index, 0, HOOKS[direction], 0)
