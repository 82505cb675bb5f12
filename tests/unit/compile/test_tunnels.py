"""From nodes to tunnels: which way is encapsulated, what a tunnel leaves of the MTU, who its other ends are."""

import pytest
from msgspec.structs import replace

from clew.compile.ipam import Pool
from clew.compile.routes import Between, routes, tunnels
from clew.facts.node import Node
from clew.ir.routes import PodRoute, Tunnel, TunnelEnd

ONE = Node("one", ("172.30.0.11", "fd00:172::11"), pod_cidrs=("10.244.1.0/24", "fd00:244:1::/64"))
TWO = Node("two", ("172.30.0.12", "fd00:172::12"), pod_cidrs=("10.244.2.0/24", "fd00:244:2::/64"))
FAR = Node("far", ("172.30.1.13", "fd00:172:1::13"), pod_cidrs=("10.244.3.0/24", "fd00:244:3::/64"))
POOLS = (Pool("10.244.1.0/24"), Pool("fd00:244:1::/64"))
SUBNETS = ("172.30.0.11/24", "fd00:172::11/64")


def ways(between: Between) -> dict[str, str | None]:
    return {way.destination: way.tunnel for way in routes([ONE, TWO, FAR], "one", between)[0].values()}


@pytest.mark.parametrize(
    ("between", "near", "far", "far_six"),
    [
        (Between(), None, None, None),
        (Between("vxlan"), "vxlan", "vxlan", "vxlan"),
        (Between("vxlan", cross_subnet=True, subnets=SUBNETS), None, "vxlan", "vxlan"),
        (Between("vxlan", cross_subnet=True), "vxlan", "vxlan", "vxlan"),  # no subnet known: nobody is near
        (Between("ipip"), "ipip", "ipip", None),  # IPv4 in IPv4 alone
        (Between("ipip", cross_subnet=True, subnets=SUBNETS), None, "ipip", None),
    ],
    ids=["host-gw", "vxlan", "vxlan-across", "no-subnet", "ipip", "ipip-across"],
)
def test_what_is_encapsulated(between: Between, near: str | None, far: str | None, far_six: str | None) -> None:
    found = ways(between)
    assert (found["10.244.2.0/24"], found["10.244.3.0/24"], found["fd00:244:3::/64"]) == (near, far, far_six)


def test_a_tunnelled_way_says_by_which_address_the_node_is_known() -> None:
    found, _ = routes([ONE, TWO], "one", Between("vxlan"))
    assert found["10.244.2.0/24"] == PodRoute("10.244.2.0/24", "172.30.0.12", "Node two", "vxlan", "172.30.0.11")
    assert found["fd00:244:2::/64"].source == "fd00:172::11"


@pytest.mark.parametrize(
    ("between", "families", "taken"),
    [(Between(), (4, 6), 0), (Between("vxlan"), (4,), 50), (Between("vxlan"), (4, 6), 70), (Between("ipip"), (4,), 20)],
)
def test_what_the_headers_take(between: Between, families: tuple[int, ...], taken: int) -> None:
    assert between.room(1500, families, ONE) == 1500 - taken


@pytest.mark.parametrize(
    ("mtu", "four", "six"), [(1500, 1446, 1426), (1501, 1446, 1426), (1504, 1450, 1430), (9000, 8946, 8926)]
)
def test_esp_is_padded_to_four_bytes_and_outside_is_ipv4_where_nodes_have_it(mtu: int, four: int, six: int) -> None:
    """What is encrypted, two bytes of trailer included, ends at a multiple of four: of the rest nothing is room."""
    only_six = replace(ONE, internal_ips=("fd00:172::11",))
    assert Between("ipsec").room(mtu, (4, 6), ONE) == four
    assert Between("ipsec").room(mtu, (4, 6), only_six) == six


def test_a_node_without_an_address_of_a_family_has_no_tunnel_in_it() -> None:
    """The ways led to a device that was never made, and were tried again each second."""
    own = replace(ONE, internal_ips=ONE.internal_ips[:1])
    found, (problem,) = routes([own, TWO, FAR], "one", Between("vxlan"))
    assert set(found) == {"10.244.2.0/24", "10.244.3.0/24"}
    assert (problem.origin, problem.field) == ("Node one", "status.addresses")
    found, problems = routes([own, replace(TWO, wireguard_key="two=")], "one", Between("wireguard"))
    assert (set(found), problems) == ({*TWO.pod_cidrs}, ()), "it carries both families by either"


def test_one_end_a_family() -> None:
    between = Between("vxlan", cross_subnet=True, subnets=SUBNETS, vni=7, port=4789)
    nodes = [ONE, TWO, FAR]
    found, _ = routes(nodes, "one", between)
    four, six = TunnelEnd(("172.30.1.13",)), TunnelEnd(("fd00:172:1::13",))
    assert tunnels(ONE, POOLS, nodes, found.values(), between, 1500) == (
        Tunnel("vxlan", ("172.30.0.11",), (four,), ("10.244.1.0/24",), 1450, 7, 4789, "Node one"),
        Tunnel("vxlan", ("fd00:172::11",), (six,), ("fd00:244:1::/64",), 1430, 7, 4789, "Node one"),
    )


def test_ipip_has_no_end_in_ipv6_and_the_end_is_there_before_any_other_node() -> None:
    between = Between("ipip")
    (end,) = tunnels(ONE, POOLS, [ONE], routes([ONE], "one", between)[0].values(), between, 1500)
    assert (end.encapsulation, end.addresses, end.peers, end.mtu) == ("ipip", ("172.30.0.11",), (), 1480)


def test_wireguard_has_one_end_for_both_families() -> None:
    """A node speaks for its pods and for its own addresses, and outer packets go to the first of these."""
    two, far = replace(TWO, wireguard_key="two="), replace(FAR, wireguard_key="far=")
    between = Between("wireguard", cross_subnet=True, subnets=SUBNETS, port=51820, key="one=")
    nodes = [ONE, two, far]
    found, problems = routes(nodes, "one", between)
    assert problems == ()
    (end,) = tunnels(ONE, POOLS, nodes, found.values(), between, 1500)
    assert end.addresses == ONE.internal_ips
    assert end.peers == (TunnelEnd(FAR.internal_ips, "far=", FAR.pod_cidrs),), "those of the own subnet are near"
    assert (end.sources, end.mtu, end.port, end.key) == (ONE.pod_cidrs, 1420, 51820, "one=")


@pytest.mark.parametrize(("two", "first"), [("one=", "one"), ("far=", "far")])
def test_of_two_with_one_key_the_first_has_it(two: str, first: str) -> None:
    """Machines that were cloned with their folders: the kernel knows a peer by its key, so the last took all packets.

    And a clone of this node was entered each time it was looked, for the kernel passes over its own key.
    """
    nodes = [ONE, replace(TWO, wireguard_key=two), replace(FAR, wireguard_key="far=")]
    between = Between("wireguard", key="one=")
    found, (*problems,) = routes(nodes, "one", between)
    (end,) = tunnels(ONE, POOLS, nodes, found.values(), between, 1500)
    assert [(peer.key, peer.addresses) for peer in end.peers] == [("far=", FAR.internal_ips)]
    assert {problem.origin for problem in problems} == {"Node two"}
    assert f"it is the key of node {first}, too: remove wireguard.key" in problems[0].message


def test_a_node_without_a_key_is_not_reached_in_the_clear_instead() -> None:
    """Without a route its pods would be looked for by the default one; the tunnel drops what is for no peer."""
    nodes, between = [ONE, replace(TWO, wireguard_key="two="), FAR], Between("wireguard")
    found, problems = routes(nodes, "one", between)
    assert {way.tunnel for way in found.values()} == {"wireguard"}
    assert set(found) == {*TWO.pod_cidrs, *FAR.pod_cidrs}
    (end,) = tunnels(ONE, POOLS, nodes, found.values(), between, 1500)
    assert [peer.key for peer in end.peers] == ["two="]
    assert {(problem.origin, problem.field) for problem in problems} == {
        ("Node far", "metadata.annotations[clew.dev/wireguard-public-key]")
    }
