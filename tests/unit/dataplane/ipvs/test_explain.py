"""From what is in the kernel back to the Service, in one sentence."""

import pytest

from clew.dataplane.ipvs.explain import entry, packet, rows, server
from clew.dataplane.ipvs.objects import KINDS, set_name
from clew.dataplane.ipvs.programme import Programme
from clew.dataplane.ipvs.simulate import simulate
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.packets import Packet, Surroundings
from clew.ir.proxying import Settings

HERE = ("TCP", "10.96.0.10", 80)
NODE = "172.30.0.11"


@pytest.fixture
def programme() -> Programme:
    programme = Programme(Settings(4, ("10.244.0.0/16",)), {NODE})
    frontend = Frontend("10.96.0.10", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]")
    backends = (Backend("10.244.1.10", 8080, "here"), Backend("10.244.2.10", 8080, "elsewhere"))
    balancer = Balancer("default/web:http", 4, 60, backends, (), (), True, (frontend,))
    programme.want({("default", "web"): (balancer,)})
    return programme


def test_a_virtual_server_leads_to_its_service(programme: Programme) -> None:
    service, sentence = server(HERE, programme.wanted(), programme.origin)
    assert service == "Service default/web:http"
    assert sentence == ("10.96.0.10:80/TCP is a virtual server with 2 backends (rr, a client keeps its own for 60 s)")
    assert programme.origin(("TCP", "10.96.0.99", 80)) == ""


def test_rows_tell_everything_in_order(programme: Programme) -> None:
    found = [(row.kind, row.key) for row in rows(programme.wanted())]
    assert found == [
        ("virtual server", "10.96.0.10:80/TCP"),
        ("KUBE-CLUSTER-IP", "10.96.0.10,tcp:80"),
        ("KUBE-IPVS-IPS", "10.96.0.10"),
        ("KUBE-LOOP-BACK", "10.244.1.10,tcp:8080,10.244.1.10"),
    ]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", KINDS)
def test_every_set_has_a_sentence(name: str, family: int) -> None:
    kernel_name = set_name(name, 6 if family == 6 else 4)
    assert entry(kernel_name, "x").startswith("x is ")
    assert entry(kernel_name, "x") == entry(name, "x"), "names that were cut off are known, too"


def test_a_packets_fate_is_told_rule_by_rule(programme: Programme) -> None:
    state = programme.wanted()
    outcomes = simulate(
        state, Packet("172.30.0.100", "10.96.0.10", "TCP", 80, 0, "eth0"), Surroundings(frozenset({NODE}))
    )
    told = [packet(outcome, state, programme.origin) for outcome in outcomes]
    assert {service for service, _ in told} == {"Service default/web:http"}
    for _, lines in told:
        assert lines[-1].startswith("10.96.0.10:80/TCP is a virtual server")
        assert any(line.startswith("KUBE-BEYOND-PODS: -j KUBE-MARK-MASQ") for line in lines)
        assert any("MASQUERADE" in line for line in lines)
