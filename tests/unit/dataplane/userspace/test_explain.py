"""From what is in force back to the Service, in one sentence."""

import pytest

from clew.dataplane.userspace.explain import packet, rows, way
from clew.dataplane.userspace.programme import Programme
from clew.dataplane.userspace.simulate import simulate
from clew.ir.balancing import Backend, Balancer, Frontend
from clew.ir.packets import Packet, Surroundings
from clew.ir.proxying import Settings

NODE = "172.30.0.11"


@pytest.fixture
def programme() -> Programme:
    programme = Programme(Settings(4, ("10.244.0.0/16",), node_addresses=(NODE,)))
    frontend = Frontend("10.96.0.10", "TCP", 80, "internal", "Cluster", None, "spec.clusterIPs[0]")
    empty = Frontend("192.0.2.9", "TCP", 80, "external", "Cluster", None, "spec.externalIPs[0]")
    backends = (Backend("10.244.1.10", 8080, "here"),)
    programme.want(
        {
            ("default", "web"): (Balancer("default/web:http", 4, 60, backends, (), (), True, (frontend,)),),
            ("default", "none"): (Balancer("default/none", 4, 0, (), (), (), False, (empty,)),),
        }
    )
    return programme


def test_a_way_leads_to_its_service(programme: Programme) -> None:
    ((key, kept),) = programme.ways().items()
    assert way(key, kept) == (
        "Service default/web:http",
        "the proxy of default/web:http/TCP dials in turn 10.244.1.10:8080; a client keeps its own for 60 s",
    )


def test_rules_name_the_way_instead_of_a_port(programme: Programme) -> None:
    found = list(rows(programme.wanted()))
    assert found[0].kind == "way"
    (led,) = (row.key for row in found if row.kind == "KUBE-PORTALS-CONTAINER")
    assert led.startswith('-d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http" -m tcp --dport 80 ')
    assert led.endswith(" -j DNAT --to-destination 172.30.0.11: port of default/web:http")


def test_a_packets_fate_is_told(programme: Programme) -> None:
    state = programme.wanted()

    def fate(destination: str) -> list[tuple[str, list[str]]]:
        sent = Packet("10.244.1.11", destination, "TCP", 80, 0, "cbr0")
        return [packet(each, state) for each in simulate(state, sent, Surroundings(frozenset({NODE})))]

    ((service, lines),) = fate("10.96.0.10")
    assert service == "Service default/web:http"
    assert lines[-1].startswith("the proxy of default/web:http/TCP dials in turn 10.244.1.10:8080")
    ((service, lines),) = fate("192.0.2.9")
    assert service == "Service default/none"
    assert "REJECT" in lines[-1]
