"""What this mode needs of a kernel before anything else: modules, the device, sysctls, the scheduler, time-outs.

Whatever is missing is said by name. Source of the sysctls: kube-proxy; Documentation/networking/ipvs-sysctl.rst.
"""

import errno
from pathlib import Path

from clew.dataplane.ipvs.objects import DEVICE
from clew.dataplane.ipvs.readback import Ports
from clew.ir.proxying import Settings
from clew.kernel import ipvs
from clew.kernel.errors import KernelError
from clew.kernel.ipset import IpSet, KernelIpSets
from clew.kernel.iptables import KernelIptables
from clew.kernel.ipvs import Delete, Put, Timeouts, VirtualKey, VirtualServer
from clew.kernel.netlink import Netlink
from clew.kernel.netlink.requests import Add
from clew.kernel.netlink.requests import Delete as DeleteLink
from clew.kernel.netlink.values import Link, Plain
from clew.kernel.sysctl import Sysctl

PROBE_LINK, PROBE_SET = "clew-ipvs-probe", "clew-ipvs-probe"
PROBE = {4: "198.51.100.0", 6: "2001:db8::"}  # for documentation, RFC 5737 and 3849: nobody serves there
SYSCTLS = {
    "net.ipv4.vs.conntrack": 1,  # masquerade needs connection tracking to see what IPVS does
    "net.ipv4.vs.expire_nodest_conn": 1,  # a flow to a real server that has gone ends, and does not hang
    "net.ipv4.vs.expire_quiescent_template": 1,  # a persistent client leaves a real server that drains
    "net.ipv4.ip_forward": 1,
}
STRICT_ARP = {"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2}


def open_ports(where: Path | None) -> Ports:
    """Sockets in a network namespace or the caller's own; nothing is made or loaded."""
    return Ports(ipvs.KernelIpvs(where), KernelIpSets(where), KernelIptables(where), Netlink(where), Sysctl(where))


def missing(where: Path | None) -> str:
    """One sentence about what this kernel or machine lacks for the mode; "" where nothing."""
    lacking = ipvs.missing(where)
    if lacking:
        return f"{lacking}; load the modules ip_vs, ip_vs_rr and nf_conntrack, or take a kernel that has them"
    try:
        _probe_sets(where)
    except (KernelError, OSError) as refused:
        return f"the kernel has no ipset ({refused}); load the modules ip_set, ip_set_hash_ipport and xt_set"
    try:
        _probe_link(where)
    except (KernelError, OSError) as refused:
        return f"the kernel has no dummy links ({refused}); load the module dummy"
    try:
        _ = KernelIptables(where).kind
    except KernelError as refused:
        return f"no iptables ({refused})"
    return ""


def _probe_sets(where: Path | None) -> None:
    sets = KernelIpSets(where)
    try:
        for kind in ("hash:ip", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net", "bitmap:port"):
            sets.create(IpSet(PROBE_SET, kind))
            sets.destroy(PROBE_SET)
    finally:
        sets.close()


def _probe_link(where: Path | None) -> None:
    with Netlink(where) as links:
        if links.link(DEVICE) is None:
            links.request([Add(Link(PROBE_LINK, Plain("dummy"))), DeleteLink(Link(PROBE_LINK))])


def prepare(ports: Ports, settings: Settings) -> None:
    """Device, sysctls, time-outs; KernelError names what is refused. What is right is left alone."""
    if ports.links.link(DEVICE) is None:
        ports.links.request([Add(Link(DEVICE, Plain("dummy")))])
    ports.ipvs.load()  # its sysctls are there only once it is
    ports.sysctls.write(SYSCTLS | (STRICT_ARP if settings.ipvs.strict_arp else {}))
    _probe_scheduler(ports, settings)
    chosen = settings.ipvs
    wanted = Timeouts(*(round(each) for each in (chosen.tcp_timeout, chosen.tcp_fin_timeout, chosen.udp_timeout)))
    if wanted != Timeouts():
        ports.ipvs.set_timeouts(wanted)


def _probe_scheduler(ports: Ports, settings: Settings) -> None:
    key = VirtualKey(settings.family, "TCP", PROBE[settings.family], 20000)
    made, _ = ports.ipvs.attempt([Put(key, VirtualServer(settings.ipvs.scheduler)), Delete(key)])
    if made is not None and made.number != errno.EEXIST:
        raise made
