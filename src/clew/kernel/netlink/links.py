"""Links to and from rtnetlink bytes (linux/if_link.h). Pure."""

from collections.abc import Callable, Mapping
from struct import Struct

from msgspec.structs import replace

from clew.kernel.netlink import wire
from clew.kernel.netlink.requests import SetLink
from clew.kernel.netlink.values import Bridge, Detail, Link, Peer, Plain, Veth, Vxlan, XfrmInterface

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWLINKPROP = 108

INFO = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, which flags change
IFF_UP, IFF_RUNNING = 1, 0x40

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 20, 27, 28, 29
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
RTEXT_FILTER_SKIP_STATS = 8

VETH_INFO_PEER = 1
BR_FORWARD_DELAY, BR_AGEING, BR_STP, BR_MCAST_SNOOPING = 1, 4, 5, 23
BRPORT_HAIRPIN, BRPORT_ISOLATED = 4, 33
VX_ID, VX_LINK, VX_LOCAL, VX_TTL, VX_LEARNING, VX_PORT, VX_LOCAL6, VX_METADATA = 1, 3, 4, 5, 7, 15, 17, 25
XFRM_IF_ID = 2

IFNAMSIZ = 16
HZ = 100  # bridge times cross the border in hundredths of a second (USER_HZ)

IndexOf = Callable[[str], int]


def header(index: int = 0, up: bool | None = None) -> bytes:  # noqa: FBT001 - a tri-state of the kernel's
    return INFO.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)


def encode(link: Link, index_of: IndexOf) -> bytes:
    """The body of RTM_NEWLINK that makes `link`."""
    parts = [header(up=link.up or None), wire.text(IFLA_IFNAME, link.name)]
    if link.mtu:
        parts.append(wire.u32(IFLA_MTU, link.mtu))
    if link.mac:
        parts.append(wire.mac(IFLA_ADDRESS, link.mac))
    if link.master:
        parts.append(wire.u32(IFLA_MASTER, index_of(link.master)))
    if link.group:
        parts.append(wire.u32(IFLA_GROUP, link.group))
    kind, data = _encode_detail(link.detail, index_of)
    info = [wire.text(IFLA_INFO_KIND, kind), wire.attribute(IFLA_INFO_DATA, data)] if kind else []
    return b"".join([*parts, wire.nested(IFLA_LINKINFO, *info)])


def _encode_detail(detail: Detail, index_of: IndexOf) -> tuple[str, bytes]:
    match detail:
        case Veth(peer=peer):
            return "veth", wire.attribute(VETH_INFO_PEER, _encode_peer(peer)) if peer else b""
        case Bridge():
            return "bridge", _encode_bridge(detail)
        case Vxlan():
            return "vxlan", _encode_vxlan(detail, index_of)
        case XfrmInterface(if_id=if_id):
            return "xfrm", wire.u32(XFRM_IF_ID, if_id)
        case Plain(kind=kind):
            return kind, b""


def _encode_peer(peer: Peer) -> bytes:
    parts = [header(), wire.text(IFLA_IFNAME, peer.name)]
    if peer.ns is not None:
        parts.append(wire.u32(IFLA_NET_NS_FD, peer.ns))
    if peer.mac:
        parts.append(wire.mac(IFLA_ADDRESS, peer.mac))
    if peer.mtu:
        parts.append(wire.u32(IFLA_MTU, peer.mtu))
    return b"".join(parts)


def _encode_bridge(bridge: Bridge) -> bytes:
    parts = []
    if bridge.ageing_seconds is not None:
        parts.append(wire.u32(BR_AGEING, bridge.ageing_seconds * HZ))
    if bridge.forward_delay_seconds is not None:
        parts.append(wire.u32(BR_FORWARD_DELAY, bridge.forward_delay_seconds * HZ))
    if bridge.stp is not None:
        parts.append(wire.u32(BR_STP, int(bridge.stp)))
    if bridge.multicast_snooping is not None:
        parts.append(wire.u8(BR_MCAST_SNOOPING, int(bridge.multicast_snooping)))
    return b"".join(parts)


def _encode_vxlan(vxlan: Vxlan, index_of: IndexOf) -> bytes:
    parts = [wire.be16(VX_PORT, vxlan.port), wire.u8(VX_LEARNING, int(vxlan.learning))]
    if vxlan.collect_metadata:
        parts.append(wire.u8(VX_METADATA, 1))
    else:
        parts.append(wire.u32(VX_ID, vxlan.vni))
    if vxlan.local:
        parts.append(wire.ip(VX_LOCAL6 if ":" in vxlan.local else VX_LOCAL, vxlan.local))
    if vxlan.device:
        parts.append(wire.u32(VX_LINK, index_of(vxlan.device)))
    if vxlan.ttl:
        parts.append(wire.u8(VX_TTL, vxlan.ttl))
    return b"".join(parts)


def encode_change(change: SetLink, index_of: IndexOf) -> list[tuple[int, bytes]]:
    """The messages, (type, body), that carry out `change`: properties, a further name, a port's switches."""
    index = index_of(change.name)
    messages = []
    if body := _properties(change, index_of):
        messages.append((RTM_NEWLINK, header(index, change.up) + body))
    elif change.up is not None:
        messages.append((RTM_NEWLINK, header(index, change.up)))
    if change.altname is not None:
        names = wire.nested(IFLA_PROP_LIST | wire.NLA_F_NESTED, wire.text(IFLA_ALT_IFNAME, change.altname))
        messages.append((RTM_NEWLINKPROP, header(index) + names))
    if port := _port_switches(change):
        info = (wire.text(IFLA_INFO_SLAVE_KIND, "bridge"), wire.attribute(IFLA_INFO_SLAVE_DATA, port))
        messages.append((RTM_NEWLINK, header(index) + wire.nested(IFLA_LINKINFO, *info)))
    return messages


def _properties(change: SetLink, index_of: IndexOf) -> bytes:
    parts = []
    if change.mtu is not None:
        parts.append(wire.u32(IFLA_MTU, change.mtu))
    if change.mac is not None:
        parts.append(wire.mac(IFLA_ADDRESS, change.mac))
    if change.master is not None:
        parts.append(wire.u32(IFLA_MASTER, index_of(change.master) if change.master else 0))
    if change.group is not None:
        parts.append(wire.u32(IFLA_GROUP, change.group))
    if change.alias is not None:
        parts.append(wire.text(IFLA_IFALIAS, change.alias))
    if change.rename is not None:
        parts.append(wire.text(IFLA_IFNAME, change.rename))
    if change.ns is not None:
        parts.append(wire.u32(IFLA_NET_NS_FD, change.ns))
    return b"".join(parts)


def _port_switches(change: SetLink) -> bytes:
    parts = []
    if change.hairpin is not None:
        parts.append(wire.u8(BRPORT_HAIRPIN, int(change.hairpin)))
    if change.isolated is not None:
        parts.append(wire.u8(BRPORT_ISOLATED, int(change.isolated)))
    return b"".join(parts)


def query(name: str = "") -> bytes:
    """The body of RTM_GETLINK: one link by name, or all of them (as a dump)."""
    mask = wire.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return header() + mask + (_by_name(name) if name else b"")


def _by_name(name: str) -> bytes:
    """A link's name or one of its further names, which alone may be longer than fifteen characters."""
    return wire.text(IFLA_ALT_IFNAME if len(name) >= IFNAMSIZ else IFLA_IFNAME, name)


def encode_names(link: Link) -> list[tuple[int, bytes]]:
    """What the kernel leaves out when it makes a link and has to be told afterwards: its alias, its further names."""
    messages = []
    if link.alias:
        messages.append(
            (RTM_NEWLINK, header() + wire.text(IFLA_IFNAME, link.name) + wire.text(IFLA_IFALIAS, link.alias))
        )
    for altname in link.altnames:
        names = wire.nested(IFLA_PROP_LIST | wire.NLA_F_NESTED, wire.text(IFLA_ALT_IFNAME, altname))
        messages.append((RTM_NEWLINKPROP, header() + wire.text(IFLA_IFNAME, link.name) + names))
    return messages


def decode(body: memoryview) -> Link:
    """A link as a dump shows it; `master` holds the master's index in digits until `with_names` names it."""
    _family, _type, index, flags, _change = INFO.unpack_from(body)
    found = wire.attributes(body, INFO.size)
    info = wire.attributes(found.get(IFLA_LINKINFO, memoryview(b"")))
    port = wire.attributes(info.get(IFLA_INFO_SLAVE_DATA, memoryview(b"")))
    master = wire.get_u32(found, IFLA_MASTER)
    return Link(
        name=wire.get_text(found, IFLA_IFNAME),
        detail=_decode_detail(info),
        up=bool(flags & IFF_UP),
        mtu=wire.get_u32(found, IFLA_MTU),
        mac=wire.get_mac(found, IFLA_ADDRESS),
        master=str(master) if master else "",
        group=wire.get_u32(found, IFLA_GROUP),
        alias=wire.get_text(found, IFLA_IFALIAS),
        altnames=_decode_altnames(found),
        index=index,
        lower=wire.get_u32(found, IFLA_LINK),
        running=bool(flags & IFF_RUNNING),
        hairpin=bool(wire.get_u8(port, BRPORT_HAIRPIN)),
    )


def _decode_altnames(found: wire.Attributes) -> tuple[str, ...]:
    names = found.get(IFLA_PROP_LIST)
    if names is None:
        return ()
    texts = (bytes(name).rstrip(b"\0").decode() for kind, name in wire.walk(names) if kind == IFLA_ALT_IFNAME)
    return tuple(sorted(texts))


def _decode_detail(info: wire.Attributes) -> Detail:
    kind = wire.get_text(info, IFLA_INFO_KIND)
    data = wire.attributes(info.get(IFLA_INFO_DATA, memoryview(b"")))
    if kind == "veth":
        return Veth()
    if kind == "bridge":
        return Bridge(
            ageing_seconds=wire.get_u32(data, BR_AGEING) // HZ,
            forward_delay_seconds=wire.get_u32(data, BR_FORWARD_DELAY) // HZ,
            stp=bool(wire.get_u32(data, BR_STP)),
            multicast_snooping=bool(wire.get_u8(data, BR_MCAST_SNOOPING)),
        )
    if kind == "vxlan":
        underlay = wire.get_u32(data, VX_LINK)
        return Vxlan(
            vni=wire.get_u32(data, VX_ID),
            port=int(wire.BE16.unpack_from(data[VX_PORT])[0]),
            local=wire.get_ip(data, VX_LOCAL6 if VX_LOCAL6 in data else VX_LOCAL),
            device=str(underlay) if underlay else "",
            learning=bool(wire.get_u8(data, VX_LEARNING)),
            collect_metadata=bool(wire.get_u8(data, VX_METADATA)),
            ttl=wire.get_u8(data, VX_TTL),
        )
    if kind == "xfrm":
        return XfrmInterface(wire.get_u32(data, XFRM_IF_ID))
    return Plain(kind)


def with_names(link: Link, names: Mapping[str, str]) -> Link:
    """`link` with the index of its master and of its underlay turned into names."""
    if link.master:
        link = replace(link, master=names.get(link.master, f"if{link.master}"))
    if isinstance(link.detail, Vxlan) and link.detail.device:
        device = names.get(link.detail.device, f"if{link.detail.device}")
        link = replace(link, detail=replace(link.detail, device=device))
    return link
