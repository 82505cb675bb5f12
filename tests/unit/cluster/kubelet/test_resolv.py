from typing import Any

import pytest

from clew.cluster.kubelet.resolv import hostname, hosts, resolv_conf

from .conftest import CONFIG, pod

CLUSTER = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
NODE = "nameserver 172.30.0.100\n"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, CLUSTER), ({"dnsPolicy": "ClusterFirst"}, CLUSTER), ({"dnsPolicy": "Default"}, NODE),
        ({"hostNetwork": True}, NODE), ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, NODE),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}}, "nameserver 9.9.9.9\n"),
        (
            {"dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}], "searches": ["a.b"]}},
            CLUSTER.replace("ndots:5", "ndots:2 edns0").replace("cluster.local\nname", "cluster.local a.b\nname"),
        ),
        (  # three servers at most, each once
            {"dnsConfig": {"nameservers": ["10.96.0.10", "1.1.1.1", "2.2.2.2", "3.3.3.3"]}},
            CLUSTER.replace("0.10\n", "0.10\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n"),
        ),
    ],
)  # fmt: skip
def test_resolv_conf_by_policy(spec: dict[str, Any], text: str) -> None:
    assert resolv_conf(pod(**spec), CONFIG) == text


def test_search_domains_are_cut_where_resolvers_stop() -> None:
    many = pod(dnsPolicy="None", dnsConfig={"nameservers": ["1.1.1.1"], "searches": [f"d{n}.x" for n in range(40)]})
    assert len(resolv_conf(many, CONFIG).splitlines()[0].split()) == 1 + 32
    long = pod(
        dnsPolicy="None", dnsConfig={"nameservers": ["1.1.1.1"], "searches": [f"{n}{'a' * 200}" for n in range(20)]}
    )
    assert len(resolv_conf(long, CONFIG).splitlines()[0]) <= len("search ") + 2048


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, "p"), ({"hostname": "h"}, "h"), ({"hostname": "h", "subdomain": "s"}, "h"),
        ({"hostNetwork": True}, "node-1"),
        ({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": True}, "h.s.default.svc.cluster.local"),
        ({"setHostnameAsFQDN": True}, "p"), ({"hostnameOverride": "over.ride"}, "over.ride"),
    ],
)  # fmt: skip
def test_hostnames(spec: dict[str, Any], name: str) -> None:
    assert hostname(pod(**spec), CONFIG) == name


def test_a_name_longer_than_a_host_may_have_is_cut() -> None:
    long = pod(name="a" * 62 + "-b")
    assert hostname(long, CONFIG) == "a" * 62


def test_hosts_has_every_address_and_the_aliases() -> None:
    text = hosts(
        pod(subdomain="s", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]), CONFIG, ["10.0.0.1", "fd00::1"]
    )
    assert "10.0.0.1\tp.s.default.svc.cluster.local\tp\nfd00::1\tp.s.default.svc.cluster.local\tp\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
    assert "127.0.0.1\tlocalhost\n" in text
