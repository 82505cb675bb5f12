"""From nodes to what a node's router says: mesh, reflectors, peers outside; no session without an address."""

import pytest

from clew.compile.ipam import Pool
from clew.compile.routing import Peer, Routing, speaker
from clew.dataplane.bird import simulate
from clew.facts.node import Node
from clew.ir.routing import Neighbour, Speaker

ONE = Node("one", ("172.30.0.11", "fd00:172::11"), pod_cidrs=("10.244.1.0/24", "fd00:244:1::/64"))
TWO = Node("two", ("172.30.0.12", "fd00:172::12"), pod_cidrs=("10.244.2.0/24", "fd00:244:2::/64"))
FOUR = Node("three", ("172.30.0.13",), pod_cidrs=("10.244.3.0/24",))
NODES = (ONE, TWO, FOUR)


def of(own: Node, routing: Routing) -> Speaker:
    pools = tuple(Pool(cidr) for cidr in own.pod_cidrs)
    return speaker(own, NODES, pools, routing, ("10.244.0.0/16",), ("eth0",))


def test_everybody_with_everybody() -> None:
    found = of(ONE, Routing("bgp"))
    assert found.announced == ONE.pod_cidrs
    assert {"10.244.0.0/16", "fd00:244:2::/64"} <= set(found.believed)
    assert found.neighbours == (
        Neighbour("three", "172.30.0.13", 64512),
        Neighbour("two", "172.30.0.12", 64512),
        Neighbour("two", "fd00:172::12", 64512),
    )
    assert [each.address for each in of(FOUR, Routing("bgp")).neighbours] == ["172.30.0.11", "172.30.0.12"]


def test_reflectors_speak_to_all_and_the_others_to_them() -> None:
    routing = Routing("bgp", reflectors=("one",))
    assert {(each.name, each.client) for each in of(ONE, routing).neighbours} == {("two", True), ("three", True)}
    assert {(each.name, each.client) for each in of(TWO, routing).neighbours} == {("one", False)}
    both = Routing("bgp", reflectors=("one", "two"))
    assert {(each.name, each.client) for each in of(ONE, both).neighbours} == {("two", False), ("three", True)}


def test_peers_outside() -> None:
    rack, other = Peer("172.30.0.1", 65000, "secret"), Peer("fd00:172::1", 65001, nodes=("two",))
    routing = Routing("bgp", mesh=False, peers=(rack, other))
    assert of(ONE, routing).neighbours == (Neighbour("172.30.0.1", "172.30.0.1", 65000, password="secret"),)
    assert [each.asn for each in of(TWO, routing).neighbours] == [65000, 65001]
    assert [each.asn for each in of(FOUR, routing).neighbours] == [65000]


def test_ospf_finds_its_neighbours_by_itself() -> None:
    found = of(ONE, Routing("ospf"))
    assert (found.neighbours, found.links, found.protocol) == ((), ("eth0",), "ospf")


def test_a_router_id_is_there_without_an_ipv4_address_and_differs_between_nodes() -> None:
    six = [Node(name, ("fd00::1",), pod_cidrs=()) for name in ("a", "b")]
    ids = {speaker(node, six, (), Routing("bgp"), (), ()).router_id for node in six}
    assert len(ids) == 2


@pytest.mark.parametrize("routing", [Routing("bgp"), Routing("bgp", reflectors=("three",)), Routing("ospf")])
def test_whose_word_is_followed(routing: Routing) -> None:
    one, others = of(ONE, routing), [of(TWO, routing), of(FOUR, routing)]
    assert simulate.next_hop(one, others, "10.244.2.9") == "172.30.0.12"
    assert simulate.next_hop(one, others, "10.244.9.9") == "", "nobody announces it"
    assert simulate.next_hop(one, others, "192.0.2.1") == "", "nobody would be believed"
    assert simulate.next_hop(of(ONE, Routing("bgp", mesh=False)), others, "10.244.2.9") == ""
