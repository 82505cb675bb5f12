"""The tunnels' devices: made, compared with what is wanted, taken away. Blocking; called by apply.py only."""

import errno
from collections.abc import Iterable

from clew.dataplane.overlay.objects import IPIP, TunnelLink
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Address, Delete, Link, Plain, RtNetlink, SetLink, Vxlan


def found(link: Link, addresses: Iterable[Address]) -> TunnelLink | None:
    """A device as the kernel shows it; None where it is the kernel's own `tunl0` that nobody has taken into use."""
    own = sorted(each.address for each in addresses if each.dev == link.name and not each.link_local)
    address = own[0] if len(own) == 1 else ",".join(own)
    mtu = link.mtu if link.up else 0  # one that is down differs from any that is wanted
    if isinstance(link.detail, Vxlan):
        detail = link.detail
        wanted_shape = not detail.learning and not detail.collect_metadata and not detail.device
        local = detail.local if wanted_shape else ""
        return TunnelLink(link.name, "vxlan", local, address, mtu, link.mac, detail.vni, detail.port)
    if link.name == IPIP and not link.up and not own:
        return None
    return TunnelLink(link.name, "ipip", "", address, mtu)


def make(kernel: RtNetlink, link: TunnelLink, there: TunnelLink | None) -> None:
    """`link` up with exactly its address; what cannot be changed in place is made anew. KernelError where refused."""
    if link.kind == "vxlan":
        if there is not None and _identity(there) != _identity(link):
            kernel.request([Delete(Link(link.name))])
            there = None
        if there is None:
            detail = Vxlan(link.vni, link.port, link.local, learning=False)
            kernel.request([Add(Link(link.name, detail, mac=link.mac, mtu=link.mtu))])
    elif kernel.link(IPIP) is None:
        _add_ipip(kernel)
    mac = link.mac or None
    kernel.request([SetLink(link.name, mtu=link.mtu, mac=mac), SetLink(link.name, up=True)])
    have = {each.address for each in kernel.addresses() if each.dev == link.name and not each.link_local}
    kernel.request([Delete(Address(each, link.name)) for each in sorted(have - {link.address})])
    if link.address not in have:
        kernel.request([Add(Address(link.address, link.name, nodad=":" in link.address))])


def remove(kernel: RtNetlink, link: TunnelLink) -> None:
    """Take it away; the kernel's own `tunl0` cannot go and is left as it was before us: down and without address."""
    if link.kind == "vxlan":
        (refusal,) = kernel.attempt([Delete(Link(link.name))])
        if refusal is not None and not refusal.absent:
            raise refusal
        return
    held = [each for each in kernel.addresses() if each.dev == link.name and not each.link_local]
    kernel.request([*(Delete(each) for each in held), SetLink(link.name, up=False)])
    kernel.attempt([Delete(Link(link.name))])


def _identity(link: TunnelLink) -> tuple[object, ...]:
    """What the kernel does not let change."""
    return link.local, link.vni, link.port


def _add_ipip(kernel: RtNetlink) -> None:
    """`tunl0` appears by itself where the module is loaded; asking for it loads the module."""
    (refusal,) = kernel.attempt([Add(Link(IPIP, Plain("ipip")))])
    if refusal is None or refusal.exists or kernel.link(IPIP) is not None:
        return
    if refusal.number in {errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL}:
        detail = "this kernel has no ipip (CONFIG_NET_IPIP, module ipip): choose another network backend"
        raise KernelError(errno.EOPNOTSUPP, "make tunl0", detail=detail)
    raise refusal
