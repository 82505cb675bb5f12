"""The iptables rules of IPVS mode. They depend on the node's settings, never on services: those are entries of sets.

Pure. Names of chains are kube-proxy's where it has them. What is marked here is masqueraded in KUBE-POSTROUTING, after
IPVS has chosen. Called by dataplane/ipvs/programme; the README draws the chains.
"""

from clew.base.xtables import Jump, Wanted, comes_from, comment, whole
from clew.dataplane.ipvs.objects import set_name
from clew.ir.proxying import Settings

MARK_MASQ, MASQUERADE = "-j KUBE-MARK-MASQ", "-j MASQUERADE --random-fully"
FROM_HERE = "-m addrtype --src-type LOCAL"
NEW = "-m conntrack --ctstate NEW"
LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
UNREACHABLE = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
SHARED = {"nat": ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"), "filter": ("KUBE-FORWARD",)}  # mode iptables
OURS = {
    "nat": ("KUBE-NODE-PORT", "KUBE-NODE-PORT-MASQ", "KUBE-LOAD-BALANCER", "KUBE-BEYOND-PODS"),
    "filter": ("KUBE-IPVS-FILTER", "KUBE-REFUSAL"),
    "mangle": ("KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-DROP-OUTSIDE"),
}  # chains that no other mode has


def rules(settings: Settings) -> Wanted:
    """All chains, and the jumps to them from the kernel's own."""
    return Wanted(
        {
            "nat": {
                "KUBE-SERVICES": _services(settings),
                "KUBE-BEYOND-PODS": _beyond_pods(settings),
                "KUBE-LOAD-BALANCER": _external("KUBE-LOAD-BALANCER-LOCAL", settings),
                "KUBE-NODE-PORT": _node_ports(settings),
                "KUBE-NODE-PORT-MASQ": _node_port_masquerade(settings),
                "KUBE-MARK-MASQ": (f"-j MARK --set-xmark {_mark(settings)}",),
                "KUBE-POSTROUTING": _postrouting(settings),
            },
            "filter": {
                "KUBE-FORWARD": _forward(settings),
                "KUBE-IPVS-FILTER": _filter(settings),
                "KUBE-REFUSAL": (
                    "-p tcp -j REJECT --reject-with tcp-reset",
                    f"-j REJECT --reject-with {UNREACHABLE[settings.family]}",
                ),
            },
            "mangle": {
                "KUBE-PROXY-FIREWALL": _firewall(settings),
                "KUBE-SOURCE-RANGES-FIREWALL": (
                    f"{_in('KUBE-LOAD-BALANCER-SOURCE-CIDR', settings, 'dst,dst,src')} -j RETURN",
                    "-j DROP",
                ),
                "KUBE-DROP-OUTSIDE": (
                    *(f"{each} -j RETURN" for each in comes_from(settings.pod_cidrs, settings.pod_interface)),
                    f"{FROM_HERE} -j RETURN",
                    "-j DROP",
                ),
            },
        },
        (
            Jump("nat", "PREROUTING", f"-m comment {comment('kubernetes service portals')} -j KUBE-SERVICES"),
            Jump("nat", "OUTPUT", f"-m comment {comment('kubernetes service portals')} -j KUBE-SERVICES"),
            Jump("nat", "POSTROUTING", f"-m comment {comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING"),
            Jump("filter", "FORWARD", f"-m comment {comment('kubernetes forwarding rules')} -j KUBE-FORWARD"),
            Jump("filter", "INPUT", f"-m comment {comment('kubernetes ipvs access filter')} -j KUBE-IPVS-FILTER"),
            Jump(
                "mangle",
                "PREROUTING",
                f"{NEW} -m comment {comment('kube-proxy firewall rules')} -j KUBE-PROXY-FIREWALL",
            ),
            Jump("mangle", "OUTPUT", f"{NEW} -m comment {comment('kube-proxy firewall rules')} -j KUBE-PROXY-FIREWALL"),
        ),
    )


def _services(settings: Settings) -> tuple[str, ...]:
    cluster = _in("KUBE-CLUSTER-IP", settings)
    external, local = _in("KUBE-EXTERNAL-IP", settings), _in("KUBE-EXTERNAL-IP-LOCAL", settings)
    balancer = _in("KUBE-LOAD-BALANCER", settings)
    masquerade = MARK_MASQ if settings.masquerade_all else "-j KUBE-BEYOND-PODS"
    to_here = "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT"
    chosen = [f"-d {whole(prefix)} {to_here}" for prefix in settings.node_port_addresses]
    # A service's address is the node's own by now; rules of others that translate what comes to it end here.
    end = [f"{each} -j ACCEPT" for each in (cluster, balancer, external, local)]
    return (
        f"{cluster} {masquerade}",
        f"{external} {MARK_MASQ}",
        f"{FROM_HERE} {local} {MARK_MASQ}",
        f"{balancer} -j KUBE-LOAD-BALANCER",
        *(chosen or [f"! -d {LOOPBACK[settings.family]} {to_here}"]),
        *end,
    )


def _beyond_pods(settings: Settings) -> tuple[str, ...]:
    """Who takes the node's address towards a cluster address. The node's own packets have the service's as theirs."""
    pods = comes_from(settings.pod_cidrs, settings.pod_interface)
    if not pods:
        return (f"{FROM_HERE} {MARK_MASQ}",)
    return (*(f"{each} -j RETURN" for each in pods), MARK_MASQ)


def _external(local: str, settings: Settings) -> tuple[str, ...]:
    return (f"{FROM_HERE} {MARK_MASQ}", f"{_in(local, settings)} -j RETURN", MARK_MASQ)


def _node_ports(settings: Settings) -> tuple[str, ...]:
    return (
        f"-p tcp {_in('KUBE-NODE-PORT-TCP', settings, 'dst')} -j KUBE-NODE-PORT-MASQ",
        f"-p udp {_in('KUBE-NODE-PORT-UDP', settings, 'dst')} -j KUBE-NODE-PORT-MASQ",
        f"{_in('KUBE-NODE-PORT-SCTP-HASH', settings)} -j KUBE-NODE-PORT-MASQ",
    )


def _node_port_masquerade(settings: Settings) -> tuple[str, ...]:
    return (
        f"{FROM_HERE} {MARK_MASQ}",
        f"-p tcp {_in('KUBE-NODE-PORT-LOCAL-TCP', settings, 'dst')} -j RETURN",
        f"-p udp {_in('KUBE-NODE-PORT-LOCAL-UDP', settings, 'dst')} -j RETURN",
        f"{_in('KUBE-NODE-PORT-LOCAL-SCTP-HASH', settings)} -j RETURN",
        MARK_MASQ,
    )


def _postrouting(settings: Settings) -> tuple[str, ...]:
    mark = f"{settings.masquerade_mark:#x}"
    return (
        f"{_in('KUBE-LOOP-BACK', settings, 'dst,dst,src')} -j KUBE-MARK-MASQ",
        f"-m mark ! --mark {_mark(settings)} -j RETURN",
        f"-j MARK --set-xmark {mark}/0x0",
        MASQUERADE,
    )


def _forward(settings: Settings) -> tuple[str, ...]:
    return (
        f"-m mark --mark {_mark(settings)} -j ACCEPT",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )


def _filter(settings: Settings) -> tuple[str, ...]:
    """What nobody serves is refused before IPVS sees it; the node has no ports of its own on a service's address.

    IPVS itself would answer by ICMP, which a client that is still in connect() on the same machine does not heed.
    """
    served = ("KUBE-CLUSTER-IP", "KUBE-LOAD-BALANCER", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL")
    return (
        *(f"{_in(name, settings)} -j RETURN" for name in served),
        f"{NEW} {_in('KUBE-REFUSE', settings)} -j KUBE-REFUSAL",
        f"{NEW} {_in('KUBE-IPVS-IPS', settings, 'dst')} -j KUBE-REFUSAL",
    )


def _firewall(settings: Settings) -> tuple[str, ...]:
    nobody = _in("KUBE-IPVS-IPS", settings, "dst").replace("--match-set", "! --match-set")
    return (
        f"{_in('KUBE-LOAD-BALANCER-FW', settings)} -j KUBE-SOURCE-RANGES-FIREWALL",
        f"{_in('KUBE-DROP', settings)} -j DROP",
        f"{_in('KUBE-DROP-OUTSIDE', settings)} -j KUBE-DROP-OUTSIDE",
        f"{_in('KUBE-SERVICE-RANGE', settings, 'dst')} {nobody} -j DROP",
    )


def _in(name: str, settings: Settings, directions: str = "dst,dst") -> str:
    return f"-m set --match-set {set_name(name, settings.family)} {directions}"


def _mark(settings: Settings) -> str:
    return f"{settings.masquerade_mark:#x}/{settings.masquerade_mark:#x}"
