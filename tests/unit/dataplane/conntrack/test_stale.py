import msgspec

from clew.base.addresses import Family
from clew.dataplane.conntrack.apply import forget_stale
from clew.dataplane.conntrack.stale import NOBODY, stale, udp_truth
from clew.ir.balancing import Backend, Balancer, Frontend, Protocol
from clew.kernel.conntrack import FakeConntrack, Flow

VIP, CLIENT, NODE = "10.96.0.10", "10.244.1.7", "172.30.0.11"


def balancer(*backends: str, protocol: Protocol = "UDP", node_port: int = 0) -> Balancer:
    frontends = [Frontend(VIP, protocol, 53, "internal", "Cluster", None, "")]
    if node_port:
        frontends.append(Frontend("", protocol, node_port, "external", "Cluster", None, ""))
    pods = tuple(Backend(address, 5353, "elsewhere") for address in backends)
    return Balancer("default/dns", 4, 0, pods, (), (), bool(pods), tuple(frontends))


def flow(answers: str, *, to: str = VIP, port: int = 53, source: str = CLIENT, family: Family = 4) -> Flow:
    answer_port = port if answers == to else 5353
    return Flow(family, "UDP", source, 4000, to, port, answers, answer_port)


def test_a_flow_to_a_backend_that_left_is_stale() -> None:
    truth = udp_truth([balancer("10.0.0.1", "10.0.0.2")], [balancer("10.0.0.2")])
    gone, fine = flow("10.0.0.1"), flow("10.0.0.2")
    assert stale([gone, fine], truth, ()) == [gone]


def test_a_service_that_only_grew_needs_no_look() -> None:
    assert not udp_truth([balancer("10.0.0.1")], [balancer("10.0.0.1", "10.0.0.2")])


def test_the_flows_of_a_deleted_service_go() -> None:
    truth = udp_truth([balancer("10.0.0.1")], [])
    assert truth.places == {(4, VIP, 53): NOBODY}
    assert stale([flow("10.0.0.1")], truth, ())


def test_the_last_backend_takes_its_flows_along() -> None:
    truth = udp_truth([balancer("10.0.0.1")], [balancer()])
    assert stale([flow("10.0.0.1")], truth, ())


def test_a_flow_from_before_anybody_served_is_stale() -> None:
    truth = udp_truth([], [balancer("10.0.0.1")])
    untranslated = flow(VIP)
    assert stale([untranslated, flow("10.0.0.1")], truth, ()) == [untranslated]


def test_flows_to_elsewhere_are_never_looked_at() -> None:
    truth = udp_truth([balancer("10.0.0.1")], [])
    assert stale([flow("8.8.8.8", to="8.8.8.8"), flow("10.0.0.1", port=54)], truth, ()) == []


def test_node_ports_are_found_on_every_address_by_translation() -> None:
    truth = udp_truth([balancer("10.0.0.1", node_port=30053)], [balancer(node_port=30053)])
    translated = flow("10.0.0.1", to="172.30.0.99", port=30053)
    own, foreign = flow(NODE, to=NODE, port=30053), flow("1.2.3.4", to="1.2.3.4", port=30053)
    assert stale([translated, own, foreign], truth, [NODE]) == [translated, own]


def test_a_backend_that_is_ending_keeps_its_flows() -> None:
    after = msgspec.structs.replace(balancer("10.0.0.2"), others=(Backend("10.0.0.1", 5353, "elsewhere"),))
    assert not udp_truth([balancer("10.0.0.1", "10.0.0.2")], [after])
    assert udp_truth([after], [balancer("10.0.0.2")])


def test_tcp_runs_on() -> None:
    assert not udp_truth([balancer("10.0.0.1", protocol="TCP")], [])


def test_only_the_family_asked_for_is_read() -> None:
    conntrack = FakeConntrack([flow("10.0.0.1")])
    truth = udp_truth([balancer("10.0.0.1")], [])
    assert forget_stale(conntrack, 6, truth, ()) == 0
    assert forget_stale(conntrack, 4, truth, ()) == 1
    assert conntrack.table == []
