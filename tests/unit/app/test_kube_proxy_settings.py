"""KubeProxyConfiguration's fields: what they become, and the words in which they are refused."""

from typing import Any

import pytest

from clew.app import kube_proxy_config
from clew.app.kube_proxy_settings import check, conntrack_sysctls, proxy_settings
from clew.base.errors import UserError
from clew.ir.proxying import IpvsSettings


def parsed(**fields: Any) -> kube_proxy_config.KubeProxyConfiguration:
    found = kube_proxy_config.parse(fields)
    check(found)
    return found


def test_ranges_say_which_families_there_are() -> None:
    assert proxy_settings(parsed(), "n", ("10.244.0.0/16",), ("10.96.0.0/12",)).families == (4,)
    assert proxy_settings(parsed(), "n", ("10.244.0.0/16", "fd00::/48")).families == (4, 6)
    both = proxy_settings(parsed(clusterCIDR="fd00::/48, 10.0.0.0/8"), "n", ("10.244.0.0/16",))
    assert (both.families, both.pod_cidrs) == ((4, 6), ("fd00::/48", "10.0.0.0/8"))


@pytest.mark.parametrize(("mode", "section"), [("nftables", "nftables"), ("", "nftables"), ("iptables", "iptables")])
def test_each_mode_reads_its_own_section(mode: str, section: str) -> None:
    said = {"masqueradeAll": True, "masqueradeBit": 15, "syncPeriod": "1m", "minSyncPeriod": "2s"}
    found = proxy_settings(parsed(mode=mode, **{section: said}), "n")
    assert (found.masquerade_all, found.masquerade_mark, found.period, found.least) == (True, 0x8000, 60, 2)
    other = "iptables" if section == "nftables" else "nftables"
    assert not proxy_settings(parsed(mode=mode, **{other: said}), "n").masquerade_all


def test_a_mode_whose_changes_are_dear_makes_fewer() -> None:
    assert proxy_settings(parsed(mode="iptables"), "n").least == 1.0
    assert proxy_settings(parsed(mode="nftables"), "n").least < 0.1


def test_node_ports_on_loopback_are_the_default_in_iptables_only() -> None:
    assert proxy_settings(parsed(mode="iptables"), "n").localhost_node_ports
    assert not proxy_settings(parsed(mode="iptables", iptables={"localhostNodePorts": False}), "n").localhost_node_ports
    assert not proxy_settings(parsed(mode="nftables"), "n").localhost_node_ports


@pytest.mark.parametrize(
    ("fields", "interface", "node_cidr", "pods"),
    [
        ({}, "", False, ("10.244.0.0/16",)),
        ({"detectLocalMode": "ClusterCIDR"}, "", False, ("10.244.0.0/16",)),
        ({"detectLocalMode": "NodeCIDR"}, "", True, ()),
        ({"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cbr0"}}, "cbr0", False, ()),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
            "veth*",
            False,
            (),
        ),
    ],
)
def test_what_tells_pods_from_others(
    fields: dict[str, Any], interface: str, node_cidr: bool, pods: tuple[str, ...]
) -> None:
    found = proxy_settings(parsed(**fields), "n", ("10.244.0.0/16",))
    assert (found.pod_interface, found.of_node_cidr, found.pod_cidrs) == (interface, node_cidr, pods)


def test_with_node_cidr_the_nodes_own_pods_are_inside() -> None:
    found = proxy_settings(parsed(detectLocalMode="NodeCIDR"), "n", ("10.244.0.0/16", "fd00::/48"))
    assert found.of(4, (), ("10.244.1.0/24", "fd00:0:0:1::/64")).pod_cidrs == ("10.244.1.0/24",)
    assert found.of(6, (), ("10.244.1.0/24", "fd00:0:0:1::/64")).pod_cidrs == ("fd00:0:0:1::/64",)


def test_ipvs() -> None:
    said = {"scheduler": "wlc", "strictARP": True, "excludeCIDRs": ["10.0.0.0/8"], "tcpFinTimeout": "2m"}
    assert proxy_settings(parsed(ipvs=said), "n").ipvs == IpvsSettings(
        "wlc", strict_arp=True, exclude_cidrs=("10.0.0.0/8",), tcp_fin_timeout=120.0
    )


def test_connection_tracking_is_set_as_far_as_it_was_asked() -> None:
    """And TCP's time-outs as by kube-proxy: a connection half closed lost its translation after the kernel's minute."""
    kept = {
        "net.netfilter.nf_conntrack_tcp_timeout_established": 86400,
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": 3600,
    }
    assert conntrack_sysctls(parsed(), 4) == kept
    assert conntrack_sysctls(parsed(conntrack={"tcpCloseWaitTimeout": None}), 4) == kept
    left = {"tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    assert conntrack_sysctls(parsed(conntrack=left), 4) == {}
    said = {
        "maxPerCore": 32768,
        "min": 200_000,
        "tcpEstablishedTimeout": "12h",
        "tcpCloseWaitTimeout": "0s",
        "udpTimeout": "0s",
        "tcpBeLiberal": True,
    }
    assert conntrack_sysctls(parsed(conntrack=said), 4) == {
        "net.netfilter.nf_conntrack_max": 200_000,
        "net.netfilter.nf_conntrack_tcp_timeout_established": 43200,
        "net.netfilter.nf_conntrack_tcp_be_liberal": 1,
    }


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"mode": "kernelspace"}, "mode: 'kernelspace' is for Windows"),
        ({"mode": "iptable"}, "mode: 'iptable' is not a mode"),
        ({"clusterCIDR": "10.0.0.0/8,10.1.0.0/16"}, "clusterCIDR: two ranges"),
        ({"clusterCIDR": "10.0.0.0"}, "clusterCIDR[0]: '10.0.0.0' has no length"),
        ({"clusterCIDR": "ten"}, "clusterCIDR[0]: "),
        ({"nodePortAddresses": ["primary", "10.0.0.0/8"]}, "nodePortAddresses: 'primary' stands alone"),
        ({"nodePortAddresses": ["10.0.0.0/8", "x/8"]}, "nodePortAddresses[1]"),
        ({"nftables": {"masqueradeBit": 32}}, "nftables.masqueradeBit: 32"),
        ({"mode": "iptables", "iptables": {"masqueradeBit": -1}}, "iptables.masqueradeBit: -1"),
        ({"mode": "nftables", "iptables": {"masqueradeBit": 77}}, "iptables.masqueradeBit: 77"),
        ({"mode": "ipvs", "iptables": {"minSyncPeriod": "1h"}}, "iptables.minSyncPeriod: 3600 s is longer"),
        ({"nftables": {"syncPeriod": "soon"}}, "nftables.syncPeriod: 'soon'"),
        ({"nftables": {"syncPeriod": "1s", "minSyncPeriod": "2s"}}, "nftables.minSyncPeriod"),
        ({"detectLocalMode": "Guess"}, "detectLocalMode: 'Guess'"),
        ({"detectLocalMode": "BridgeInterface"}, "detectLocal.bridgeInterface: ''"),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "a" * 16}},
            "detectLocal.interfaceNamePrefix",
        ),
        ({"ipvs": {"scheduler": "fastest"}}, "ipvs.scheduler: 'fastest' is not known"),
        ({"ipvs": {"excludeCIDRs": ["a"]}}, "ipvs.excludeCIDRs[0]"),
        ({"conntrack": {"maxPerCore": -1}}, "conntrack.maxPerCore"),
        ({"conntrack": {"tcpCloseWaitTimeout": "x"}}, "conntrack.tcpCloseWaitTimeout"),
        ({"oomScoreAdj": 2000}, "oomScoreAdj: 2000"),
        ({"healthzBindAddress": "0.0.0.0:99999"}, "healthzBindAddress"),
        ({"metricsBindAddress": "localhost:10249"}, "metricsBindAddress"),
    ],
)
def test_what_does_not_hold_is_refused_by_name(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(UserError) as refused:
        parsed(**fields)
    assert path in refused.value.message
    assert refused.value.remedy
