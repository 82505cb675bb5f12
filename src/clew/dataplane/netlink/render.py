"""ir to kernel objects. Pure: names, MACs and marks by rule, so that two runs agree and a restart finds its own."""

import hashlib
from ipaddress import IPv6Address, ip_interface

from clew.dataplane.netlink.objects import (
    BRIDGE,
    GATEWAY_MAC,
    BridgeLink,
    NodeRoute,
    PodEnd,
    Port,
    PortLink,
    Setting,
)
from clew.ir.links import PodPort, Switch
from clew.ir.routes import PodRoute

_LINK_LOCAL = IPv6Address("fe80::").packed[:8]


def bridge(switch: Switch) -> BridgeLink:
    return BridgeLink(BRIDGE, mac_of(switch.gateways), switch.mtu, switch.gateways)


def port(pod: PodPort) -> Port:
    """A routed pod's neighbours are written down on both ends: nobody has to ask, and nobody can answer wrongly."""
    name, alias, mac = (
        host_name(pod.container, pod.ifname),
        f"{pod.container}/{pod.ifname}",
        pod.mac or mac_of(pod.addresses),
    )
    if pod.routed:
        link = PortLink(name, alias, "", pod.mtu, GATEWAY_MAC, tuple(sorted(pod.addresses)), mac)
        return Port(link, PodEnd(pod.ifname, mac, pod.mtu, pod.addresses, pod.gateways, GATEWAY_MAC), pod.origin)
    link = PortLink(name, alias, BRIDGE, pod.mtu, host_mac(name))
    return Port(link, PodEnd(pod.ifname, mac, pod.mtu, pod.addresses, pod.gateways), pod.origin)


def route(reach: PodRoute, dev: str = "", gateway: str = "") -> NodeRoute:
    """`dev` is the link of its tunnel and `gateway` the other end there, where it leads through one."""
    return NodeRoute(reach.destination, gateway if dev else reach.via, dev, reach.source, reach.mtu)


def behind(reach: PodRoute) -> NodeRoute:
    """The same for when a routing protocol withdraws what it told."""
    return NodeRoute(reach.destination, reach.via, mtu=reach.mtu, behind=True)


def nobody(cidr: str) -> NodeRoute:
    """What no pod has of a range of the node's own: where pods are routed, no link's subnet holds it."""
    return NodeRoute(cidr, "", nobody=True)


def settings(families: frozenset[int]) -> tuple[Setting, ...]:
    """What a node must have set to forward pods' packets, in the order in which to set it.

    bridge-nf: a service's reply from a pod on the same bridge must pass conntrack on its way back, or the client gets
    it from an address that it never asked.
    """
    found = []
    if 4 in families:
        found += [
            Setting("net.ipv4.ip_forward", "1", needed=True),
            Setting("net.bridge.bridge-nf-call-iptables", "1", needed=False),
        ]
    if 6 in families:
        found += [
            Setting("net.ipv6.conf.all.forwarding", "1", needed=True),
            Setting("net.bridge.bridge-nf-call-ip6tables", "1", needed=False),
        ]
    return tuple(found)


def bridge_settings(name: str, families: frozenset[int]) -> tuple[Setting, ...]:
    """The bridge's own: it takes no router's word, and its addresses are known to be single.

    It answers ARP for pods of its range that hang on links of their own: those on the bridge look for them here.
    """
    found = []
    if 4 in families:
        found.append(Setting(f"net.ipv4.conf.{name}.proxy_arp", "1", needed=False))
    if 6 in families:
        found += [
            Setting(f"net.ipv6.conf.{name}.accept_ra", "0", needed=False),
            Setting(f"net.ipv6.conf.{name}.accept_dad", "0", needed=False),
        ]
    return tuple(found)


def link_local(bridge: BridgeLink) -> tuple[str, ...]:
    """The address from which a bridge of IPv6 asks for its neighbours (RFC 4291, appendix A), with its length.

    The kernel gives it one, once; without it nothing that is forwarded finds a pod.
    """
    if 6 not in families_of(bridge.addresses):
        return ()
    first, *rest = bytes.fromhex(bridge.mac.replace(":", ""))
    identifier = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return (f"{IPv6Address(_LINK_LOCAL + identifier)}/64",)


def pod_settings(ifname: str, families: frozenset[int]) -> tuple[Setting, ...]:
    """Inside the pod's namespace, before its link goes up: IPv6 addresses are usable at once."""
    if 6 not in families:
        return ()
    return (
        Setting("net.ipv6.conf.all.disable_ipv6", "0", needed=False),
        Setting(f"net.ipv6.conf.{ifname}.disable_ipv6", "0", needed=False),
        Setting(f"net.ipv6.conf.{ifname}.accept_ra", "0", needed=False),
        Setting(f"net.ipv6.conf.{ifname}.accept_dad", "0", needed=False),
        Setting(f"net.ipv6.conf.{ifname}.dad_transmits", "0", needed=False),
    )


def host_name(container: str, ifname: str) -> str:
    """The host's end: `veth` and ten hex digits, the same for the same attachment for ever."""
    digest = hashlib.sha256(f"{container}/{ifname}".encode()).hexdigest()
    return f"veth{digest[:10]}"


def host_mac(name: str) -> str:
    """0e and the five bytes in the name: nobody speaks to it, but what is fixed can be shown and compared."""
    return bytes.fromhex("0e" + name.removeprefix("veth")).hex(":")


def mac_of(addresses: tuple[str, ...]) -> str:
    """0a:58 and the IPv4 address, or the last four bytes of the IPv6 one: a reused address keeps its MAC.

    Peers' ARP caches therefore never point an address at a pod that is gone. Unique on one node, which is as far as
    a MAC goes here.
    """
    packed = ip_interface(addresses[0]).ip.packed[-4:]
    return f"0a:58:{packed.hex(':')}"


def families_of(addresses: tuple[str, ...]) -> frozenset[int]:
    return frozenset(6 if ":" in address else 4 for address in addresses)
