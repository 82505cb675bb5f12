"""The steps by which the bridge and a pod's pair of links come to be and go. Blocking; called by apply.py only."""

import errno
from collections.abc import Iterable, Sequence
from ipaddress import ip_interface

from clew.dataplane.netlink import render
from clew.dataplane.netlink.objects import (
    LEAVING_GROUP,
    LINK_GROUP,
    ROUTE_PROTO,
    BridgeLink,
    PodEnd,
    Port,
    PortLink,
    Setting,
)
from clew.kernel.errors import KernelError
from clew.kernel.inside import Enter
from clew.kernel.netlink import (
    Add,
    Address,
    Bridge,
    Delete,
    DeleteGroup,
    Link,
    Neighbour,
    Peer,
    Request,
    Route,
    RtNetlink,
    SetLink,
    Veth,
)
from clew.kernel.sysctl import Settings

DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


def set_all(settings: Settings, wanted: Sequence[Setting]) -> tuple[str, ...]:
    """Write them; returns the optional ones that this kernel does not have. KernelError where it refuses one."""
    settings.write({setting.name: setting.value for setting in wanted if setting.needed})
    return settings.write_known({setting.name: setting.value for setting in wanted if not setting.needed})


def make_bridge(kernel: RtNetlink, settings: Settings, bridge: BridgeLink) -> None:
    """The bridge up with exactly the wanted gateways; one that exists is changed, its ports stay plugged in."""
    link = kernel.link(bridge.name)
    if link is None:
        detail = Bridge(stp=False, multicast_snooping=False)
        kernel.request([Add(Link(bridge.name, detail, mac=bridge.mac, mtu=bridge.mtu))])
    elif not isinstance(link.detail, Bridge):
        raise KernelError(errno.EEXIST, f"make bridge {bridge.name}", detail="a link of another kind has this name")
    set_all(settings, render.bridge_settings(bridge.name, render.families_of(bridge.addresses)))
    have = _addresses_of(kernel, bridge)
    wanted = [*bridge.addresses, *render.link_local(bridge)]
    kernel.request(
        [
            SetLink(bridge.name, up=True, mac=bridge.mac, mtu=bridge.mtu),
            *(Delete(Address(address, bridge.name)) for address in sorted(have - set(wanted))),
            *(Add(_address(address, bridge.name), replace=True) for address in wanted if address not in have),
        ]
    )


def remove_bridge(kernel: RtNetlink, name: str) -> None:
    """Take our bridge away, if it is there."""
    link = kernel.link(name)
    if link is not None and isinstance(link.detail, Bridge):
        kernel.request([Delete(Link(name))])


def bridge_matches(kernel: RtNetlink, bridge: BridgeLink, links: Sequence[Link]) -> bool:
    """Whether the bridge is in the kernel as wanted."""
    link = next((link for link in links if link.name == bridge.name), None)
    if link is None or not isinstance(link.detail, Bridge) or not link.up:
        return False
    wanted = {*bridge.addresses, *render.link_local(bridge)}
    return (link.mac, link.mtu, _addresses_of(kernel, bridge)) == (bridge.mac, bridge.mtu, wanted)


def _addresses_of(kernel: RtNetlink, bridge: BridgeLink) -> set[str]:
    """But for link-local ones that are not the one that neighbours are asked from."""
    own = render.link_local(bridge)
    found = [each for each in kernel.addresses() if each.dev == bridge.name]
    return {each.address for each in found if not each.link_local or each.address in own}


def all_set(settings: Settings, wanted: Sequence[Setting]) -> bool:
    """Whether they are as wanted; one that this kernel does not have is."""
    for setting in wanted:
        try:
            if settings.read(setting.name) != setting.value:
                return False
        except KernelError:
            if setting.needed:
                return False
    return True


def found_port(link: Link, routes: Iterable[Route], neighbours: Iterable[Neighbour]) -> PortLink:
    """A link of ours as the kernel shows it; one that is on its way out has nobody's name.

    A routed pod's address counts where the route to it and its neighbour are both there.
    """
    known = {each.address: each.mac for each in neighbours if each.dev == link.name and each.permanent}
    own = sorted(
        each.destination for each in routes
        if each.dev == link.name and each.proto == ROUTE_PROTO and each.destination.partition("/")[0] in known
    )  # fmt: skip
    mac = known[own[0].partition("/")[0]] if own else ""
    alias = link.alias if link.group == LINK_GROUP else ""
    return PortLink(link.name, alias, link.master, link.mtu, link.mac, tuple(own), mac, link.up)


def look_for_port(kernel: RtNetlink, name: str) -> PortLink | None:
    """The port as it is in the kernel now."""
    link = kernel.link(name)
    if link is None or link.group not in {LINK_GROUP, LEAVING_GROUP}:
        return None
    return found_port(link, kernel.routes(proto=ROUTE_PROTO), kernel.neighbours())


def make_port(kernel: RtNetlink, enter: Enter, port: Port, ns: int) -> None:
    """Both ends, the pod's configured; where a step fails they are taken away again, if the kernel lets us."""
    link, pod = port.link, port.pod
    peer = Peer(pod.ifname, ns, mac=pod.mac, mtu=pod.mtu)
    near = Link(link.name, Veth(peer), up=True, mtu=link.mtu, mac=link.mac, master=link.master, group=LINK_GROUP)
    try:
        kernel.request([Add(near)])
    except KernelError as refusal:
        if refusal.exists and kernel.link(link.name) is None:
            what = f"make {pod.ifname} in the pod's namespace"
            raise KernelError(errno.EEXIST, what, detail="an interface of this name is there already") from refusal
        raise
    try:
        enter(ns, lambda inner, settings: _configure(inner, settings, pod))
        kernel.request([*_plugged(link), SetLink(link.name, alias=link.alias)])
    except BaseException:
        kernel.attempt([Delete(Link(link.name))])
        raise


def _configure(kernel: RtNetlink, settings: Settings, pod: PodEnd) -> None:
    """The pod's end, from inside its namespace."""
    set_all(settings, render.pod_settings(pod.ifname, render.families_of(pod.addresses)))
    batch: list[Request] = [SetLink("lo", up=True)]
    batch += [Add(_address(address, pod.ifname)) for address in pod.addresses]
    batch.append(SetLink(pod.ifname, up=True))
    if pod.gateway_mac:
        batch += [Add(Neighbour(via, pod.ifname, pod.gateway_mac), replace=True) for via in pod.gateways]
    needed = len(batch)
    batch += [
        Add(Route(DEFAULTS[6 if ":" in via else 4], via=via, dev=pod.ifname, onlink=bool(pod.gateway_mac)))
        for via in pod.gateways
    ]
    for place, refusal in enumerate(kernel.attempt(batch)):
        if refusal is not None and not (refusal.exists and place >= needed):  # another interface leads out already
            raise refusal


def _plugged(link: PortLink) -> list[Request]:
    """What makes the host's end one of the network's: hairpin on the bridge, or the way to the pod's own addresses."""
    if link.master:
        return [SetLink(link.name, hairpin=True)]
    found: list[Request] = []
    for address in link.addresses:
        found.append(Add(Neighbour(address.partition("/")[0], link.name, link.pod_mac), replace=True))
        found.append(Add(Route(address, dev=link.name, proto=ROUTE_PROTO), replace=True))
    return found


def repair_port(kernel: RtNetlink, link: PortLink) -> None:
    """Put back what somebody changed at the host's end of a whole pair."""
    kernel.request(
        [
            SetLink(link.name, up=True, mtu=link.mtu, mac=link.mac, master=link.master),
            *_plugged(link),
        ]
    )


def remove_ports(kernel: RtNetlink, names: Sequence[str]) -> dict[str, KernelError]:
    """Take links away, all with one wait of the kernel's; those that are gone already are fine."""
    marked = kernel.attempt([SetLink(name, group=LEAVING_GROUP) for name in names])
    refused = {name: no for name, no in zip(names, marked, strict=True) if no is not None and not no.absent}
    if any(answer is None for answer in marked):
        try:
            kernel.request([DeleteGroup(LEAVING_GROUP)])
        except KernelError as refusal:
            if not refusal.absent:
                return {**dict.fromkeys(names, refusal), **refused}
    return refused


def loopback_up(kernel: RtNetlink) -> tuple[str, ...]:
    """The loopback interface up, and its addresses."""
    kernel.request([SetLink("lo", up=True)])
    return tuple(sorted(found.address for found in kernel.addresses() if found.dev == "lo"))


def pod_problem(kernel: RtNetlink, pod: PodEnd, mac: str) -> str:
    """What is wrong with a pod's end, seen from inside its namespace; empty where it is as it was made (CNI CHECK)."""
    link = kernel.link(pod.ifname)
    if link is None or not link.up:
        return f"interface {pod.ifname} is {'missing' if link is None else 'down'}"
    if link.mac != mac:
        return f"interface {pod.ifname} has the hardware address {link.mac} and not {mac}"
    have = {found.address for found in kernel.addresses() if found.dev == pod.ifname}
    lost = [address for address in pod.addresses if address not in have]
    if lost:
        return f"interface {pod.ifname} has lost its address {', '.join(lost)}"
    defaults = {route.via for route in kernel.routes() if route.destination in DEFAULTS.values()}
    lost = [via for via in pod.gateways if via not in defaults]
    return f"the default route by {', '.join(lost)} is missing" if lost else ""


def _address(address: str, dev: str) -> Address:
    return Address(str(ip_interface(address)), dev, nodad=":" in address)
