"""The plan made real: namespaces, bridges, veth pairs, addresses, routes. Idempotent; nothing touches the host's own.

Pairs are made inside the fabric's namespace and one end is moved: the host never sees a link. A node gets its cable
when it is switched on (`plug_in`, a new namespace each time); what runs keeps its own. Blocking.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from clew.cluster.fabric.plan import FABRIC, Fabric, Host, Switch
from clew.cluster.paths import LabPaths
from clew.kernel import modules, netns
from clew.kernel.netlink import Add, Address, Bridge, Delete, Link, Netlink, Peer, Route, SetLink, Veth
from clew.kernel.sysctl import Sysctl

logger = logging.getLogger(__name__)

CABLE = "eth0"
_BRIDGES = Path("/proc/sys/net/bridge")
_OF_BRIDGES = tuple(f"net.bridge.bridge-nf-call-{each}" for each in ("iptables", "ip6tables", "arptables"))
_SETTINGS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.all.accept_ra": 0,
    # addresses are planned: nobody need ask, for a second, whether a link-local one is taken (RFC 4862)
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
}


def build(paths: LabPaths, fabric: Fabric) -> None:
    """The switches, the host outside, and a cable for each node that runs without one; what is there stays."""
    _filter_bridges()
    _namespace(paths, FABRIC)
    with Netlink(paths.netns(FABRIC)) as wiring:
        wiring.request([SetLink("lo", up=True)])
        there = {link.name for link in wiring.links()}
        for switch in fabric.switches:
            if switch.name not in there:
                _make_switch(wiring, switch)
        for host in fabric.hosts:
            runs = host == fabric.outside or netns.pinned(paths.netns(host.name))
            if runs and host.port not in there:
                _namespace(paths, host.name)
                _connect(paths, wiring, host)


def _filter_bridges() -> None:
    """Have the module by which nodes see what passes their bridges; the machine's own bridges go on as before.

    It switches itself on in every network namespace. Without it a pod that asks a service hears the answer of a pod on
    its own node from an address that it never asked: every second question to cluster DNS, in a lab of two nodes.
    """
    if _BRIDGES.exists():
        return
    refused = modules.load("br_netfilter")
    if refused:
        logger.warning("services fail between pods of one node, the kernel has no br_netfilter: %s", refused)
        return
    Sysctl().write_known(dict.fromkeys(_OF_BRIDGES, 0))


def plug_in(paths: LabPaths, host: Host) -> None:
    """A new network namespace for the host and a cable to its switch, in place of any it had."""
    with Netlink(paths.netns(FABRIC)) as wiring:
        if wiring.link(host.port) is not None:
            wiring.request([Delete(Link(host.port))])
        netns.delete(paths.netns(host.name))
        _namespace(paths, host.name)
        _connect(paths, wiring, host)


def unplug(paths: LabPaths, host: Host) -> None:
    """The host's network ends: its namespace is let go of and its cable is gone."""
    with Netlink(paths.netns(FABRIC)) as wiring:
        if wiring.link(host.port) is not None:
            wiring.request([Delete(Link(host.port))])
    netns.delete(paths.netns(host.name))


def set_cable(paths: LabPaths, host: Host, *, joined: bool) -> None:
    """Cut the host's cable at the switch, or join it again. KernelError where it has none."""
    with Netlink(paths.netns(FABRIC)) as wiring:
        wiring.request([SetLink(host.port, up=joined)])


def cut_hosts(paths: LabPaths, fabric: Fabric) -> list[str]:
    """The hosts whose cables are cut."""
    with Netlink(paths.netns(FABRIC)) as wiring:
        down = {link.name for link in wiring.links() if not link.up}
    return [host.name for host in fabric.hosts if host.port in down]


def remove(paths: LabPaths) -> None:
    """Every namespace of the lab; the links go with them."""
    if not paths.netns_dir.is_dir():
        return
    for path in paths.netns_dir.iterdir():
        with suppress(OSError):
            netns.delete(path)


def _namespace(paths: LabPaths, name: str) -> None:
    path = paths.netns(name)
    if not netns.pinned(path):
        path.unlink(missing_ok=True)
        netns.create(path)
        Sysctl(path).write_known(_SETTINGS)


def _make_switch(wiring: Netlink, switch: Switch) -> None:
    bridge = Link(switch.name, Bridge(stp=False, forward_delay_seconds=0), up=True, mtu=switch.mtu)
    wiring.request([Add(bridge), *(Add(Address(each, switch.name, nodad=":" in each)) for each in switch.router)])


def _connect(paths: LabPaths, wiring: Netlink, host: Host) -> None:
    mtu = host.switch.mtu
    with Netlink(paths.netns(host.name)) as inside:
        inside.attempt([Delete(Link(CABLE))])  # of a fabric that is dying, for as long as it is
    fd = os.open(paths.netns(host.name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer = Peer(CABLE, ns=fd, mac=host.mac, mtu=mtu)
        wiring.request([Add(Link(host.port, Veth(peer), up=True, mtu=mtu, master=host.switch.name))])
    finally:
        os.close(fd)
    with Netlink(paths.netns(host.name)) as inside:
        addresses = [Add(Address(each, CABLE, nodad=":" in each)) for each in host.addresses]
        routes = [Add(Route("::/0" if ":" in each else "0.0.0.0/0", via=each, dev=CABLE)) for each in host.gateways]
        inside.request([SetLink("lo", up=True), SetLink(CABLE, up=True), *addresses, *routes])
