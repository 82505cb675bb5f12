"""Names and words as kube-proxy has them: those that everybody has seen on a real cluster."""

import pytest

from clew.base.xtables import parse
from clew.dataplane.iptables.objects import chain_name, ours, probability, target


@pytest.mark.parametrize(
    ("port", "protocol", "name"),
    [
        ("default/kubernetes:https", "TCP", "KUBE-SVC-NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns:dns", "UDP", "KUBE-SVC-TCOU7JCQXEZGVUNU"),
        ("kube-system/kube-dns:dns-tcp", "TCP", "KUBE-SVC-ERIFXISQEP7F7OF4"),
        ("kube-system/kube-dns:metrics", "TCP", "KUBE-SVC-JD5MR3NA4I4DYORP"),
    ],
)
def test_services_have_the_names_that_they_have_everywhere(port: str, protocol: str, name: str) -> None:
    assert chain_name("SVC", port, protocol) == name


def test_a_backend_has_a_name_of_its_own_in_each_service() -> None:
    one = chain_name("SEP", "ns1/svc1:p80", "TCP", "10.180.0.1:80")
    assert one == "KUBE-SEP-SXIVWICOYRO3J4NJ"
    assert one != chain_name("SEP", "ns2/svc1:p80", "TCP", "10.180.0.1:80")


@pytest.mark.parametrize(
    ("remaining", "text"),
    [(2, "0.50000000000"), (3, "0.33333333349"), (10, "0.10000000009"), (100001, "0.00001000008")],
)
def test_chances_are_written_as_the_kernel_keeps_them(remaining: int, text: str) -> None:
    assert probability(remaining) == f"-m statistic --mode random --probability {text}"


@pytest.mark.parametrize(
    ("table", "chain", "mine"),
    [
        ("nat", "KUBE-SERVICES", True),
        ("nat", "KUBE-SVC-NPX46M4PTMTKRN6Y", True),
        ("nat", "KUBE-XLB-NPX46M4PTMTKRN6Y", True),  # of a kube-proxy before 1.24
        ("filter", "KUBE-SVC-NPX46M4PTMTKRN6Y", False),
        ("mangle", "KUBE-PROXY-CANARY", True),
        ("mangle", "KUBE-KUBELET-CANARY", False),  # the kubelet's
        ("nat", "KUBE-LOAD-BALANCER", False),  # of the mode ipvs
        ("nat", "PREROUTING", False),
        ("nat", "CNI-HOSTPORT-DNAT", False),
    ],
)
def test_which_chains_are_ours(table: str, chain: str, mine: bool) -> None:
    assert ours(table, chain) is mine


@pytest.mark.parametrize(
    "rule", ["-j DROP", '-m comment --comment "a -j b" -j KUBE-X', "-p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80"]
)
def test_where_a_rule_leads_is_told_without_parsing(rule: str) -> None:
    assert target(rule) == parse(rule).target
