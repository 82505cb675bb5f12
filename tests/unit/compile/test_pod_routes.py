"""From nodes to routes and to the masquerade; wrong nodes are problems of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.base.errors import Problem
from clew.compile import links
from clew.compile import routes as compiled
from clew.compile.masquerade import masquerade
from clew.compile.ranges import claimed
from clew.facts.attachment import Attachment, PodRef
from clew.facts.node import Node
from clew.ir.routes import PodRoute

ONE = Node("one", ("172.30.0.11", "fd00:172::11"), pod_cidrs=("10.244.1.0/24", "fd00:244:1::/64"))
TWO = Node("two", ("172.30.0.12", "fd00:172::12"), pod_cidrs=("10.244.2.0/24", "fd00:244:2::/64"))
THREE = Node("three", ("172.30.0.13",), pod_cidrs=("10.244.3.0/24",))


def routes(nodes: list[Node], own: str) -> tuple[dict[str, PodRoute], tuple[Problem, ...]]:
    """As the agent puts the two together."""
    sound, wrong = claimed(nodes, own)
    found, problems = compiled.routes(sound, own)
    return found, (*wrong, *problems)


def test_every_other_node_by_its_own_address() -> None:
    found, problems = routes([ONE, TWO, THREE], "one")
    assert found == {
        "10.244.2.0/24": PodRoute("10.244.2.0/24", "172.30.0.12", "Node two"),
        "fd00:244:2::/64": PodRoute("fd00:244:2::/64", "fd00:172::12", "Node two"),
        "10.244.3.0/24": PodRoute("10.244.3.0/24", "172.30.0.13", "Node three"),
    }
    assert problems == ()


@pytest.mark.parametrize(
    ("node", "field", "words"),
    [
        (
            Node("bad", ("172.30.0.9",), pod_cidrs=("10.244.1.0/24",)),
            "spec.podCIDRs[0]",
            "overlaps with a range of node one",
        ),
        (Node("bad", ("172.30.0.9",), pod_cidrs=("10.244.0.0/16",)), "spec.podCIDRs[0]", "overlaps"),
        (Node("bad", ("172.30.0.9",), wrong=(("spec.podCIDRs[0]", "has host bits set"),)), "spec.podCIDRs[0]", "bits"),
        (Node("bad", ("172.30.0.9",), pod_cidrs=("0.0.0.0/0",)), "spec.podCIDRs[0]", "overlaps with 0.0.0.0/8: this"),
        (Node("bad", ("172.30.0.9",), pod_cidrs=("ff02::/64",)), "spec.podCIDRs[0]", "multicast is no pod's"),
        (
            Node("bad", ("172.30.0.9",), pod_cidrs=("172.30.0.0/25",)),
            "spec.podCIDRs[0]",
            "172.30.0.0/25 holds the node's own address 172.30.0.9",
        ),
        (
            Node("bad", ("fd00:172::9",), pod_cidrs=("10.244.9.0/24",)),
            "status.addresses",
            "no InternalIP of family IPv4",
        ),
    ],
)
def test_a_wrong_node_harms_nobody_else(node: Node, field: str, words: str) -> None:
    found, (problem,) = routes([node, ONE, TWO], "one")
    assert found == routes([ONE, TWO], "one")[0]
    assert (problem.origin, problem.field) == ("Node bad", field)
    assert words in problem.message


def test_our_own_range_is_ours_whatever_the_names() -> None:
    usurper = Node("aaa", ("172.30.0.9",), pod_cidrs=("10.244.1.0/24",))
    found, problems = routes([usurper, ONE], "one")
    assert found == {}
    assert problems[0].origin == "Node aaa"


def test_our_own_address_is_no_others() -> None:
    """A way to it would end here: the kernel refuses it each second for ever."""
    found, problems = routes([ONE, Node("aaa", ("172.30.0.11",), pod_cidrs=("10.244.9.0/24",))], "one")
    assert found == {}
    assert problems[0] == Problem("Node aaa", "status.addresses", "172.30.0.11 is an address of node one")


@given(st.permutations([ONE, TWO, THREE, Node("four", ("172.30.0.14",), pod_cidrs=("10.244.2.0/25",))]))
def test_the_order_of_nodes_does_not_matter(nodes: list[Node]) -> None:
    assert routes(nodes, "one") == routes(sorted(nodes, key=lambda node: node.name), "one")


def test_masquerade_spares_pods_and_nodes() -> None:
    nat = masquerade(ONE, ["10.244.1.0/24"], [ONE, THREE], ["10.244.0.0/16"], ["192.168.0.0/16"])
    assert nat.sources == ("10.244.1.0/24",)
    assert set(nat.inside) == {
        "10.244.0.0/16", "10.244.1.0/24", "10.244.3.0/24", "fd00:244:1::/64", "192.168.0.0/16",
        "172.30.0.11", "172.30.0.13", "fd00:172::11",
    }  # fmt: skip
    assert nat.origin == "Node one"


def test_a_port_is_complete_by_its_attachment() -> None:
    attachment = Attachment(
        "abc", "eth0", "clew", "/ns", ("10.244.1.130/25", "fd00::5/64"), 1400, PodRef("default", "web", "u1")
    )
    port = links.port(attachment)
    assert port.gateways == ("10.244.1.129", "fd00::1")
    assert (port.mtu, port.origin, port.key) == (1400, "Pod default/web", ("abc", "eth0"))
