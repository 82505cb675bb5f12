"""Routes and rules to and from rtnetlink bytes (linux/rtnetlink.h, fib_rules.h). Pure."""

import socket
from collections.abc import Callable
from struct import Struct
from typing import get_args

from clew.kernel.netlink import wire
from clew.kernel.netlink.values import Nexthop, Route, RouteKind, Rule

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

ROUTE = Struct("=BBBBBBBBI")  # rtmsg: family, dst bits, src bits, tos, table, proto, scope, type, flags
HOP = Struct("=HBBi")  # rtnexthop: length, flags, weight - 1, link
RULE = Struct("=BBBBBBBBI")  # fib_rule_hdr: family, dst bits, src bits, tos, table, 0, 0, action, flags

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
RTA_METRICS, RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 8, 9, 15, 18
RTAX_LOCK, RTAX_MTU = 1, 2
RTNH_F_ONLINK = 4
RTM_F_CLONED = 0x200
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST, SCOPE_NOWHERE = 0, 253, 254, 255
IPV6_METRIC = 1024  # what IPv6 takes for a metric of 0

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_MARK = 1, 2, 3, 6, 10
FRA_TABLE, FRA_MASK, FRA_OIFNAME, FRA_PROTOCOL = 15, 16, 17, 21
FR_ACT_TO_TBL = 1

KINDS: tuple[RouteKind, ...] = get_args(RouteKind)  # in the order of the kernel's numbers, from 1

IndexOf = Callable[[str], int]
NameOf = Callable[[int], str]


def encode(route: Route, index_of: IndexOf, *, delete: bool = False) -> bytes:
    """The body of RTM_NEWROUTE; for RTM_DELROUTE it matches any scope, and a proto of 0 any."""
    address, bits = wire.split_prefix(route.destination)
    family = wire.family_of(address)
    flags = RTNH_F_ONLINK if route.onlink else 0
    scope = SCOPE_NOWHERE if delete else _scope(route)
    table = route.table if route.table < 256 else 0
    parts = [ROUTE.pack(family, bits, 0, 0, table, route.proto, scope, KINDS.index(route.kind) + 1, flags)]
    if bits:
        parts.append(wire.ip(RTA_DST, address))
    parts.append(wire.u32(RTA_TABLE, route.table))
    if route.metric:
        parts.append(wire.u32(RTA_PRIORITY, route.metric))
    parts += _way(route.via, route.dev, family, index_of)
    if route.hops:
        parts.append(wire.nested(RTA_MULTIPATH, *(_hop(hop, family, index_of) for hop in route.hops)))
    if route.source:
        parts.append(wire.ip(RTA_PREFSRC, route.source))
    if route.mtu:
        parts.append(wire.nested(RTA_METRICS, wire.u32(RTAX_LOCK, 1 << RTAX_MTU), wire.u32(RTAX_MTU, route.mtu)))
    return b"".join(parts)


def _scope(route: Route) -> int:
    """As iproute2 chooses it: host for local addresses, link where no gateway is named, else everywhere."""
    if route.kind == "local":
        return SCOPE_HOST
    if route.kind == "unicast" and not route.via and not route.hops and ":" not in route.destination:
        return SCOPE_LINK
    return SCOPE_UNIVERSE


def _way(via: str, dev: str, family: int, index_of: IndexOf) -> list[bytes]:
    parts = []
    if via and wire.family_of(via) != family:  # IPv4 over an IPv6 gateway, RFC 5549
        parts.append(wire.attribute(RTA_VIA, wire.U16.pack(wire.family_of(via)) + wire.pack_ip(via)))
    elif via:
        parts.append(wire.ip(RTA_GATEWAY, via))
    if dev:
        parts.append(wire.u32(RTA_OIF, index_of(dev)))
    return parts


def _hop(hop: Nexthop, family: int, index_of: IndexOf) -> bytes:
    way = b"".join(_way(hop.via, "", family, index_of))
    index = index_of(hop.dev) if hop.dev else 0
    return HOP.pack(HOP.size + len(way), RTNH_F_ONLINK if hop.onlink else 0, hop.weight - 1, index) + way


def decode(body: memoryview, name_of: NameOf) -> Route | None:
    """None for a cached copy that the kernel made of a route."""
    family, bits, _src, _tos, table, proto, _scope_found, kind, flags = ROUTE.unpack_from(body)
    if flags & RTM_F_CLONED:
        return None
    found = wire.attributes(body, ROUTE.size)
    metric = wire.get_u32(found, RTA_PRIORITY)
    oif = wire.get_u32(found, RTA_OIF)
    metrics = wire.attributes(found.get(RTA_METRICS, memoryview(b"")))
    destination = wire.get_ip(found, RTA_DST)
    return Route(
        destination=f"{destination}/{bits}" if destination else wire.any_prefix(family),
        via=_decode_via(found),
        dev=name_of(oif) if oif else "",
        hops=_decode_hops(found.get(RTA_MULTIPATH), name_of),
        kind=KINDS[kind - 1] if 0 < kind <= len(KINDS) else "unicast",
        table=wire.get_u32(found, RTA_TABLE, table),
        proto=proto,
        metric=0 if family == socket.AF_INET6 and metric == IPV6_METRIC else metric,
        source=wire.get_ip(found, RTA_PREFSRC),
        mtu=wire.get_u32(metrics, RTAX_MTU),
        onlink=bool(flags & RTNH_F_ONLINK),
    )


def _decode_via(found: wire.Attributes) -> str:
    if (other := found.get(RTA_VIA)) is not None:
        return wire.unpack_ip(other[2:])
    return wire.get_ip(found, RTA_GATEWAY)


def _decode_hops(data: memoryview | None, name_of: NameOf) -> tuple[Nexthop, ...]:
    hops = []
    while data is not None and len(data) >= HOP.size:
        length, flags, weight, index = HOP.unpack_from(data)
        if length < HOP.size:
            break
        found = wire.attributes(data[:length], HOP.size)
        dev = name_of(index) if index else ""
        hops.append(Nexthop(_decode_via(found), dev, weight + 1, onlink=bool(flags & RTNH_F_ONLINK)))
        data = data[(length + 3) & ~3 :]
    return tuple(hops)


def query(family: int, table: int, proto: int) -> bytes:
    """A dump's filter, which the kernel applies (0: any); needs strict checking on the socket."""
    head = ROUTE.pack(family, 0, 0, 0, table if table < 256 else 0, proto, 0, 0, 0)
    return head + (wire.u32(RTA_TABLE, table) if table else b"")


def encode_rule(rule: Rule) -> bytes:
    family = socket.AF_INET6 if rule.family == 6 else socket.AF_INET
    source, source_bits = wire.split_prefix(rule.source) if rule.source else ("", 0)
    target, target_bits = wire.split_prefix(rule.destination) if rule.destination else ("", 0)
    table = rule.table if rule.table < 256 else 0
    parts = [RULE.pack(family, target_bits, source_bits, 0, table, 0, 0, FR_ACT_TO_TBL, 0)]
    parts += [wire.u32(FRA_PRIORITY, rule.priority), wire.u32(FRA_TABLE, rule.table)]
    if target:
        parts.append(wire.ip(FRA_DST, target))
    if source:
        parts.append(wire.ip(FRA_SRC, source))
    if rule.iif:
        parts.append(wire.text(FRA_IIFNAME, rule.iif))
    if rule.oif:
        parts.append(wire.text(FRA_OIFNAME, rule.oif))
    if rule.mark or rule.mask:
        parts += [wire.u32(FRA_MARK, rule.mark), wire.u32(FRA_MASK, rule.mask or 0xFFFFFFFF)]
    if rule.proto:
        parts.append(wire.u8(FRA_PROTOCOL, rule.proto))
    return b"".join(parts)


def decode_rule(body: memoryview) -> Rule:
    family, target_bits, source_bits, _tos, table, _r1, _r2, _action, _flags = RULE.unpack_from(body)
    found = wire.attributes(body, RULE.size)
    source, target = wire.get_ip(found, FRA_SRC), wire.get_ip(found, FRA_DST)
    mark = wire.get_u32(found, FRA_MARK)
    return Rule(
        priority=wire.get_u32(found, FRA_PRIORITY),
        family=6 if family == socket.AF_INET6 else 4,
        source=f"{source}/{source_bits}" if source else "",
        destination=f"{target}/{target_bits}" if target else "",
        iif=wire.get_text(found, FRA_IIFNAME),
        oif=wire.get_text(found, FRA_OIFNAME),
        mark=mark,
        mask=wire.get_u32(found, FRA_MASK) if mark else 0,
        table=wire.get_u32(found, FRA_TABLE, table),
        proto=wire.get_u8(found, FRA_PROTOCOL),
    )


def query_rules(family: int) -> bytes:
    return RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
