"""The plan made real: namespaces, a bridge, veth pairs, addresses, routes. Idempotent; nothing touches the host's own.

Pairs are made inside the fabric's namespace and one end is moved: the host never sees a link. Blocking.
"""

import os
from contextlib import suppress

from clew.cluster.fabric.plan import FABRIC, Fabric, Host
from clew.cluster.paths import LabPaths
from clew.kernel import netns, sysctl
from clew.kernel.netlink import Add, Address, Bridge, Link, Netlink, Peer, Route, SetLink, Veth

SWITCH = "switch0"
_SETTINGS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.all.accept_ra": 0,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
}


def build(paths: LabPaths, fabric: Fabric) -> None:
    """All that is missing; what is there already stays as it is."""
    paths.netns_dir.mkdir(parents=True, exist_ok=True)
    for name in (FABRIC, *(host.name for host in fabric.hosts)):
        if not netns.pinned(paths.netns(name)):
            paths.netns(name).unlink(missing_ok=True)
            netns.create(paths.netns(name))
            sysctl.write_known(_SETTINGS, paths.netns(name))
    with Netlink(paths.netns(FABRIC)) as switch:
        if switch.link(SWITCH) is None:
            router = [Add(Address(each, SWITCH, nodad=":" in each)) for each in fabric.router]
            bridge = Link(SWITCH, Bridge(stp=False, forward_delay_seconds=0), up=True)
            switch.request([SetLink("lo", up=True), Add(bridge), *router])
        for index, host in enumerate(fabric.hosts):
            if switch.link(f"port{index}") is None:
                _plug_in(paths, switch, fabric, host, f"port{index}")


def _plug_in(paths: LabPaths, switch: Netlink, fabric: Fabric, host: Host, port: str) -> None:
    fd = os.open(paths.netns(host.name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        switch.request([Add(Link(port, Veth(Peer("eth0", ns=fd)), up=True, master=SWITCH))])
    finally:
        os.close(fd)
    with Netlink(paths.netns(host.name)) as inside:
        addresses = [Add(Address(each, "eth0", nodad=":" in each)) for each in host.addresses]
        inside.request([SetLink("lo", up=True), SetLink("eth0", up=True), *addresses])
        routes = [
            Add(Route("::/0" if ":" in router else "0.0.0.0/0", via=router, dev="eth0")) for router in fabric.router_ips
        ]
        inside.request(routes)


def remove(paths: LabPaths) -> None:
    """Every namespace of the lab; the links go with them."""
    if not paths.netns_dir.is_dir():
        return
    for path in paths.netns_dir.iterdir():
        with suppress(OSError):
            netns.delete(path)
