"""From a KubeProxyConfiguration to the service proxy's own settings, each field checked as kube-proxy checks it.

Pure. Which section counts depends on the mode, as with kube-proxy: nftables and ebpf read `nftables`, the others
`iptables`; the mode ipvs takes its periods from `ipvs`. Called by app/agent_proxy and, for the check, by whoever reads
such a file. Source: k8s.io/kubernetes pkg/proxy/apis/config/validation.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import get_args

from clew.app.kube_proxy_config import IPVS, FieldError, IPTables, KubeProxyConfiguration, NFTables, seconds
from clew.base.addresses import Family, family_of
from clew.ir.proxying import IpvsSettings, Scheduler
from clew.node.proxy_modes import DEFAULT
from clew.node.proxy_settings import LEAST, PERIOD, PRIMARY, ProxySettings

MASQUERADE_BIT = 14
SLOW = {"iptables": 1.0}  # seconds between syncs while changes come thick: each one hands over a whole table
LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
NAME_LENGTH = 15  # letters of an interface's name
OOM_SCORES = range(-1000, 1001)
SYSCTLS = {
    "tcp_established_timeout": "net.netfilter.nf_conntrack_tcp_timeout_established",
    "tcp_close_wait_timeout": "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "udp_timeout": "net.netfilter.nf_conntrack_udp_timeout",
    "udp_stream_timeout": "net.netfilter.nf_conntrack_udp_timeout_stream",
}


def proxy_settings(
    proxy: KubeProxyConfiguration, node: str, pod_cidrs: Sequence[str] = (), service_cidrs: Sequence[str] = ()
) -> ProxySettings:
    """`pod_cidrs`: of all pods, where the file names none. Families are those of the ranges.

    UserError names the field that does not hold.
    """
    mode = proxy.mode or DEFAULT
    section: IPTables | NFTables = proxy.nftables if _name(mode) == "nftables" else proxy.iptables
    pods = _ranges("clusterCIDR", [part.strip() for part in proxy.cluster_cidr.split(",") if part.strip()], one=True)
    period, least = _periods(proxy, "ipvs" if mode == "ipvs" else _name(mode))
    ranges = pods or tuple(pod_cidrs)
    families: tuple[Family, ...] = tuple(sorted({family_of(cidr) for cidr in (*ranges, *service_cidrs)}))
    localhost = proxy.iptables.localhost_node_ports
    return ProxySettings(
        node=proxy.hostname_override or node,
        families=families or (4, 6),
        pod_cidrs=ranges if proxy.detect_local_mode in {"", "ClusterCIDR"} else (),
        service_cidrs=tuple(service_cidrs),
        primary_address=_primary(proxy.bind_address),
        node_port_addresses=_node_ports(proxy.node_port_addresses or ()),
        masquerade_all=section.masquerade_all,
        masquerade_mark=1 << _bit(section, _name(mode)),
        pod_interface=_interface(proxy),
        of_node_cidr=proxy.detect_local_mode == "NodeCIDR",
        localhost_node_ports=mode == "iptables" and localhost is not False,
        tcp_be_liberal=proxy.conntrack.tcp_be_liberal,
        ipvs=_ipvs(proxy),
        period=period or PERIOD,
        least=least or SLOW.get(mode, LEAST),
    )


def conntrack_sysctls(proxy: KubeProxyConfiguration, cores: int) -> dict[str, int]:
    """What is asked of the kernel's connection tracking.

    TCP's time-outs are kube-proxy's where the file is silent: after a minute the kernel forgets a connection that one
    side has closed, and its translation with it. What else the file leaves out, and a time of 0, stays as the kernel
    has it.
    """
    said = proxy.conntrack
    found = {}
    for field, name in SYSCTLS.items():
        value = getattr(said, field)
        camel = "".join(part.title() if at else part for at, part in enumerate(field.split("_")))
        if value and (number := round(_time(value, f"conntrack.{camel}"))):
            found[name] = number
    for field, most in (("maxPerCore", said.max_per_core), ("min", said.min)):
        if most is not None and most < 0:
            raise FieldError(f"conntrack.{field}", f"{most} is negative", "use 0 to leave the kernel's own")
    if said.max_per_core:
        found["net.netfilter.nf_conntrack_max"] = max(said.max_per_core * cores, said.min or 0)
    if said.tcp_be_liberal:
        found["net.netfilter.nf_conntrack_tcp_be_liberal"] = 1
    return found


def check(proxy: KubeProxyConfiguration) -> None:
    """UserError names the first field that does not hold, also in sections of other modes."""
    proxy_settings(proxy, "")
    for name in ("iptables", "nftables", "ipvs"):
        _periods(proxy, name)
    _bit(proxy.iptables, "iptables")
    _bit(proxy.nftables, "nftables")
    conntrack_sysctls(proxy, 1)
    if proxy.oom_score_adj is not None and proxy.oom_score_adj not in OOM_SCORES:
        raise FieldError("oomScoreAdj", f"{proxy.oom_score_adj} is out of range", "use -1000 to 1000")
    for field, address in (("healthzBindAddress", proxy.healthz), ("metricsBindAddress", proxy.metrics)):
        host, _, port = address.rpartition(":")
        if not port.isdigit() or not 1 <= int(port) <= 65535 or not _is_address(host.strip("[]")):
            raise FieldError(field, f"{address!r} is no address and port", "write it as 0.0.0.0:10256")


def _name(mode: str) -> str:
    """The section that says how a mode marks packets."""
    return "nftables" if mode in {"nftables", "ebpf"} else "iptables"


def _bit(section: IPTables | NFTables, name: str) -> int:
    bit = MASQUERADE_BIT if section.masquerade_bit is None else section.masquerade_bit
    if not 0 <= bit <= 31:
        raise FieldError(f"{name}.masqueradeBit", f"{bit} is no bit of a mark", "use 0 to 31")
    return bit


def _periods(proxy: KubeProxyConfiguration, name: str) -> tuple[float, float]:
    sections: dict[str, IPTables | NFTables | IPVS] = {
        "iptables": proxy.iptables, "nftables": proxy.nftables, "ipvs": proxy.ipvs,
    }  # fmt: skip
    section = sections[name]
    period, least = (
        _time(said, f"{name}.{field}")
        for field, said in (("syncPeriod", section.sync_period), ("minSyncPeriod", section.min_sync_period))
    )
    if least > (period or PERIOD):
        raise FieldError(f"{name}.minSyncPeriod", f"{least:g} s is longer than the syncPeriod", "make it shorter")
    return period, least


def _ipvs(proxy: KubeProxyConfiguration) -> IpvsSettings:
    said = proxy.ipvs
    scheduler = next((each for each in get_args(Scheduler) if each == (said.scheduler or "rr")), None)
    if scheduler is None:
        known = ", ".join(get_args(Scheduler))
        raise FieldError("ipvs.scheduler", f"{said.scheduler!r} is not known", f"use one of: {known}")
    return IpvsSettings(
        scheduler=scheduler,
        strict_arp=said.strict_arp,
        exclude_cidrs=_ranges("ipvs.excludeCIDRs", said.exclude_cidrs or ()),
        tcp_timeout=_time(said.tcp_timeout, "ipvs.tcpTimeout"),
        tcp_fin_timeout=_time(said.tcp_fin_timeout, "ipvs.tcpFinTimeout"),
        udp_timeout=_time(said.udp_timeout, "ipvs.udpTimeout"),
    )


def _interface(proxy: KubeProxyConfiguration) -> str:
    """The interfaces behind which pods are: "cbr0", or with a star "veth*"; "" where addresses tell."""
    mode, said = proxy.detect_local_mode, proxy.detect_local
    if mode not in {"", *LOCAL_MODES}:
        raise FieldError("detectLocalMode", f"{mode!r} is not known", f"use one of: {', '.join(LOCAL_MODES)}")
    if mode == "BridgeInterface":
        return _link("bridgeInterface", said.bridge_interface)
    if mode == "InterfaceNamePrefix":
        return _link("interfaceNamePrefix", said.interface_name_prefix) + "*"
    return ""


def _link(field: str, name: str) -> str:
    if not name or len(name) > NAME_LENGTH or any(letter.isspace() or letter in '/*+"' for letter in name):
        raise FieldError(f"detectLocal.{field}", f"{name!r} is no interface's name", f"give 1 to {NAME_LENGTH} letters")
    return name


def _primary(bind_address: str) -> str:
    """What the node is to be known by, "" where its Node says."""
    if bind_address and not _is_address(bind_address):
        raise FieldError("bindAddress", f"{bind_address!r} is no address", "write it as 192.0.2.7, 0.0.0.0 or ::")
    return bind_address if bind_address and not ip_address(bind_address).is_unspecified else ""


def _node_ports(said: Sequence[str]) -> tuple[str, ...]:
    if PRIMARY in said and len(said) > 1:
        raise FieldError("nodePortAddresses", f"{PRIMARY!r} stands alone", "name it or ranges, not both")
    return tuple(said) if PRIMARY in said else _ranges("nodePortAddresses", said)


def _ranges(field: str, said: Iterable[str], *, one: bool = False) -> tuple[str, ...]:
    """`one`: at most one of each family."""
    found = tuple(said)
    for at, text in enumerate(found):
        try:
            ip_network(text, strict=False)
        except ValueError as wrong:
            raise FieldError(f"{field}[{at}]", str(wrong), "write it as 10.0.0.0/8 or fd00::/48") from None
        if "/" not in text:
            raise FieldError(f"{field}[{at}]", f"{text!r} has no length", "write it as 10.0.0.0/8 or fd00::/48")
    if one and len({family_of(text) for text in found}) < len(found):
        raise FieldError(field, "two ranges of one family", "give one of each family, separated by a comma")
    return found


def _time(text: str, field: str) -> float:
    found = seconds(text, field)
    if found < 0:
        raise FieldError(field, f"{text!r} is negative", "use 0s for the default")
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
