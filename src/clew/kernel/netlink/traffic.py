"""Traffic control to and from rtnetlink bytes: disciplines and BPF filters (linux/pkt_sched.h, pkt_cls.h). Pure.

A discipline's own options are added to `encode_qdisc` and `decode_qdisc` kind by kind; a filter is always one BPF
program that decides by itself (direct action), for every protocol.
"""

import socket
from collections.abc import Callable
from struct import Struct

from clew.kernel.netlink import wire
from clew.kernel.netlink.values import Direction, Filter, Qdisc

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

TRAFFIC = Struct("=BBHiIII")  # tcmsg: family, padding, link, handle, parent, info
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_TAG, TCA_BPF_ID = 6, 7, 8, 10, 11
DIRECT_ACTION = 1
HOOKS: dict[Direction, int] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
ALL_PROTOCOLS = socket.htons(3)

IndexOf = Callable[[str], int]
NameOf = Callable[[int], str]


def encode_qdisc(qdisc: Qdisc, index_of: IndexOf) -> bytes:
    head = TRAFFIC.pack(0, 0, 0, index_of(qdisc.dev), qdisc.handle, qdisc.parent, 0)
    return head + wire.text(TCA_KIND, qdisc.kind)


def decode_qdisc(body: memoryview, name_of: NameOf) -> Qdisc:
    _family, _pad, _pad2, index, handle, parent, _info = TRAFFIC.unpack_from(body)
    found = wire.attributes(body, TRAFFIC.size)
    return Qdisc(name_of(index), wire.get_text(found, TCA_KIND), handle=handle, parent=parent)


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


def query_filters(index: int, direction: Direction) -> bytes:
    return TRAFFIC.pack(0, 0, 0, index, 0, HOOKS[direction], 0)
