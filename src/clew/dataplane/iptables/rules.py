"""What does not depend on services: kube-proxy's fixed chains, the ends of its hubs, the jumps to them.

Pure. Called by dataplane/iptables/programme.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from clew.dataplane.iptables.objects import (
    CANARY,
    EXTERNAL_SERVICES,
    FIREWALL,
    FORWARD,
    MARK_MASQ,
    NODE_PORTS,
    OFF_CLUSTER,
    POSTROUTING,
    PROXY_FIREWALL,
    SERVICES,
    ChainKey,
    RuleKey,
    TableName,
    destination,
    remark,
    rule,
    source,
)
from clew.ir.proxying import Settings

TO_THIS_NODE = "-m addrtype --dst-type LOCAL"
INVALID = "-m conntrack --ctstate INVALID -j DROP"
LAST = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
LOOPBACK_NETWORK = ip_network(LOOPBACK[4])
TO_LOOPBACK = destination(LOOPBACK[4])  # how rules for node ports on loopback begin


def fixed_chains(settings: Settings) -> Mapping[ChainKey, tuple[str, ...]]:
    """Chains that are there whole, whatever services there are."""
    bit = f"{settings.masquerade_mark:#x}"
    chains: dict[ChainKey, tuple[str, ...]] = {
        ("mangle", CANARY): (),
        ("filter", CANARY): (),
        ("nat", CANARY): (),
        ("filter", FORWARD): (
            *(() if settings.tcp_be_liberal else (INVALID,)),
            rule(remark("kubernetes forwarding rules"), f"-m mark --mark {bit}/{bit} -j ACCEPT"),
            rule(
                remark("kubernetes forwarding conntrack rule"), "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            ),
        ),
        ("nat", MARK_MASQ): (f"-j MARK --set-xmark {bit}/{bit}",),
        ("nat", POSTROUTING): (
            f"-m mark ! --mark {bit}/{bit} -j RETURN",
            f"-j MARK --set-xmark {bit}/0x0",
            rule(remark("kubernetes service traffic requiring SNAT"), "-j MASQUERADE --random-fully"),
        ),
    }
    if len(settings.pod_cidrs) > 1 and not settings.pod_interface:
        returns = tuple(rule(source(prefix), "-j RETURN") for prefix in settings.pod_cidrs)
        chains["nat", OFF_CLUSTER] = (*returns, f"-j {MARK_MASQ}")
    if settings.localhost_node_ports and settings.family == 4:
        chains["filter", FIREWALL] = (
            rule(
                source(LOOPBACK[4], negated=True),
                destination(LOOPBACK[4]),
                remark("block incoming localnet connections"),
                "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
            ),
        )
    return chains


def tails(settings: Settings) -> Iterator[RuleKey]:
    """Rules that stand behind all that services add to a hub."""
    for where in node_port_destinations(settings):
        yield "nat", SERVICES, rule(where, remark(LAST), TO_THIS_NODE, f"-j {NODE_PORTS}")


def node_port_destinations(settings: Settings) -> tuple[str, ...]:
    """The conditions, one of which is true of a node's address on which node ports are open."""
    loopback = LOOPBACK[settings.family]
    open_there = settings.localhost_node_ports and settings.family == 4
    if not settings.node_port_addresses:
        return ("" if open_there else destination(loopback, negated=True),)
    prefixes = settings.node_port_addresses
    return tuple(destination(each) for each in prefixes if open_there or not _within(each, loopback))


def on_loopback(settings: Settings) -> bool:
    """Whether node ports are open on loopback addresses."""
    if not settings.localhost_node_ports or settings.family == 6:
        return False
    prefixes = settings.node_port_addresses
    return not prefixes or any(ip_network(each, strict=False).overlaps(LOOPBACK_NETWORK) for each in prefixes)


def _within(prefix: str, whole: str) -> bool:
    inner, outer = ip_network(prefix, strict=False), ip_network(whole)
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def jumps(settings: Settings) -> Iterator[RuleKey]:
    """From the kernel's chains to ours, in the order in which kube-proxy puts each before those that are there."""
    new = "-m conntrack --ctstate NEW"
    rows: tuple[tuple[TableName, str, str, str, str], ...] = (
        ("filter", "INPUT", EXTERNAL_SERVICES, "kubernetes externally-visible service portals", new),
        ("filter", "FORWARD", EXTERNAL_SERVICES, "kubernetes externally-visible service portals", new),
        ("filter", "INPUT", NODE_PORTS, "kubernetes health check service ports", ""),
        ("filter", "FORWARD", SERVICES, "kubernetes service portals", new),
        ("filter", "OUTPUT", SERVICES, "kubernetes service portals", new),
        ("filter", "FORWARD", FORWARD, "kubernetes forwarding rules", ""),
        ("filter", "INPUT", PROXY_FIREWALL, "kubernetes load balancer firewall", new),
        ("filter", "OUTPUT", PROXY_FIREWALL, "kubernetes load balancer firewall", new),
        ("filter", "FORWARD", PROXY_FIREWALL, "kubernetes load balancer firewall", new),
        ("nat", "OUTPUT", SERVICES, "kubernetes service portals", ""),
        ("nat", "PREROUTING", SERVICES, "kubernetes service portals", ""),
        ("nat", "POSTROUTING", POSTROUTING, "kubernetes postrouting rules", ""),
    )
    for table, chain, to, why, condition in rows:
        yield table, chain, rule(condition, remark(why), f"-j {to}")
    if settings.localhost_node_ports and settings.family == 4:
        yield "filter", "INPUT", f"-j {FIREWALL}"
        yield "filter", "OUTPUT", f"-j {FIREWALL}"
