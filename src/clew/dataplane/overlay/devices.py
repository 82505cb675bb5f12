"""The tunnels' devices: made, compared with what is wanted, taken away. Blocking; called by apply.py only."""

import errno
from collections.abc import Iterable

from clew.dataplane.overlay.objects import IPIP, IPSEC, WIREGUARD, TunnelLink
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Address, Delete, Link, Plain, RtNetlink, SetLink, Vxlan, XfrmInterface
from clew.kernel.wireguard import WireGuard

OPTIONS = {  # what a kernel is to be built or loaded with
    "ipip": "CONFIG_NET_IPIP, module ipip", "wireguard": "CONFIG_WIREGUARD, module wireguard",
    "ipsec": "CONFIG_XFRM_INTERFACE, module xfrm_interface",
}  # fmt: skip


def found(link: Link, addresses: Iterable[Address], wireguard: WireGuard) -> TunnelLink | None:
    """A device as the kernel shows it; None where it is the kernel's own `tunl0` that nobody has taken into use."""
    own = tuple(sorted(each.address for each in addresses if each.dev == link.name and not each.link_local))
    mtu = link.mtu if link.up else 0  # one that is down differs from any that is wanted
    if isinstance(link.detail, Vxlan):
        detail = link.detail
        wanted_shape = not detail.learning and not detail.collect_metadata and not detail.device
        local = detail.local if wanted_shape else ""
        return TunnelLink(link.name, "vxlan", local, own, mtu, link.mac, detail.vni, detail.port)
    if isinstance(link.detail, XfrmInterface):
        return TunnelLink(link.name, "ipsec", "", own, mtu, if_id=link.detail.if_id)
    if link.name == IPIP and not link.up and not own:
        return None
    if link.name == WIREGUARD and link.detail == Plain("wireguard"):
        device = wireguard.device(link.name)
        return TunnelLink(link.name, "wireguard", "", own, mtu, port=device.port, key=device.public_key)
    return TunnelLink(link.name, "ipip", "", own, mtu)


def make(kernel: RtNetlink, link: TunnelLink, there: TunnelLink | None) -> None:
    """`link` up with exactly its addresses; what cannot be changed in place is made anew. KernelError where refused."""
    if there is not None and _identity(there) != _identity(link):
        kernel.request([Delete(Link(link.name))])
        there = None
    if link.kind == "ipip" and kernel.link(IPIP) is None:
        _add(
            kernel, Link(IPIP, Plain("ipip")), "ipip"
        )  # it appears by itself where the module is loaded; asking loads it
    elif link.kind == "wireguard" and there is None:
        _add(kernel, Link(link.name, Plain("wireguard"), mtu=link.mtu), "wireguard")
    elif link.kind == "ipsec" and there is None:
        _add(kernel, Link(IPSEC, XfrmInterface(link.if_id), mtu=link.mtu), "ipsec")
    elif link.kind == "vxlan" and there is None:
        detail = Vxlan(link.vni, link.port, link.local, learning=False)
        kernel.request([Add(Link(link.name, detail, mac=link.mac, mtu=link.mtu))])


def raise_up(kernel: RtNetlink, link: TunnelLink) -> None:
    """Its MTU, its addresses, and up: when everything else of it is right."""
    mac = link.mac or None
    kernel.request([SetLink(link.name, mtu=link.mtu, mac=mac), SetLink(link.name, up=True)])
    have = {each.address for each in kernel.addresses() if each.dev == link.name and not each.link_local}
    kernel.request([Delete(Address(each, link.name)) for each in sorted(have - {*link.addresses})])
    missing = [each for each in link.addresses if each not in have]
    kernel.request([Add(Address(each, link.name, nodad=":" in each)) for each in missing])


def remove(kernel: RtNetlink, link: TunnelLink) -> None:
    """Take it away; the kernel's own `tunl0` cannot go and is left as it was before us: down and without address."""
    if link.kind != "ipip":
        (refusal,) = kernel.attempt([Delete(Link(link.name))])
        if refusal is not None and not refusal.absent:
            raise refusal
        return
    held = [each for each in kernel.addresses() if each.dev == link.name and not each.link_local]
    kernel.request([*(Delete(each) for each in held), SetLink(link.name, up=False)])
    kernel.attempt([Delete(Link(link.name))])


def _identity(link: TunnelLink) -> tuple[object, ...]:
    """What the kernel does not let change."""
    return (link.kind, link.local, link.vni, link.port) if link.kind == "vxlan" else (link.kind, link.if_id)


def _add(kernel: RtNetlink, link: Link, kind: str) -> None:
    """A link of a kind that a kernel may lack: then it is said by name."""
    (refusal,) = kernel.attempt([Add(link)])
    if refusal is None or refusal.exists or kernel.link(link.name) is not None:
        return
    if refusal.number in {errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL}:
        detail = f"this kernel has no {kind} ({OPTIONS[kind]}): choose another network backend"
        raise KernelError(errno.EOPNOTSUPP, f"make {link.name}", detail=detail)
    raise refusal
