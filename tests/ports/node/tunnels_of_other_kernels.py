"""Tunnels that this machine's kernel may not have; tests/vm/test_tunnels.py runs this file in a guest that has them."""

import itertools
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.borrowing import everyone_finds_a_borrower, pools, share
from tests.ports.node.captures import ELSEWHERE, held
from tests.ports.node.conftest import made_lab
from tests.ports.node.crossing import addresses, answers, everyone_sees_everyone, wire
from tests.ports.node.promises import keeps_them_all
from tests.ports.node.secret import KEYS, give
from tests.ports.node.test_changes import follow_one
from tests.ports.node.test_mtu import passes_a_narrow_network

from clew.kernel import netns
from clew.kernel.netlink import Delete, Link, Netlink

OVERHEAD = {"ipip": 20, "wireguard": 60, "ipsec": 54}


@pytest.fixture(params=["ipip", "wireguard", "ipsec"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def started(lab: Any, tools: Any, backend: str, *numbers: int, **network: Any) -> list[Any]:
    """Nodes whose agents have heard of each other."""
    give(lab, KEYS)
    nodes = [lab.node(number) for number in numbers]
    for node in nodes:
        node.start(network={"backend": backend, **network})
    for node in nodes:
        with Netlink(node.ns) as kernel:
            tools.eventually(lambda: len(kernel.routes(proto=147, table=254)) >= len(nodes) - 1, "routes to the others")
    return nodes


@pytest.mark.parametrize("links", ["bridge", "routed"])
def test_every_promise(lab: Any, tools: Any, backend: str, links: str) -> None:
    keeps_them_all(lab, tools, started(lab, tools, backend, 1, 2, links=links), backend, OVERHEAD[backend])


def test_other_nodes_follow_one_that_moves_reboots_leaves_and_joins(lab: Any, tools: Any, backend: str) -> None:
    give(lab, KEYS)
    follow_one(lab, tools, backend)


@pytest.mark.parametrize("probed", [True, False], ids=["probed", "not probed"])
@pytest.mark.parametrize(("kind", "family"), [("ipip", 4), *itertools.product(["wireguard", "ipsec"], [4, 6])])
def test_a_stream_through_a_narrow_network(tmp_path: Path, tools: Any, kind: str, family: int, probed: bool) -> None:
    with made_lab(tmp_path, (family,)) as lab:
        give(lab, KEYS)
        passes_a_narrow_network(lab, tools, probed, backend=kind)


@pytest.mark.parametrize(("kind", "device"), [("wireguard", "wg.clew"), ("ipsec", "ipsec.clew")])
def test_both_families_through_one_encrypted_tunnel(dual_lab: Any, tools: Any, kind: str, device: str) -> None:
    one, two = dual_lab.node(1), dual_lab.node(2)
    give(dual_lab, KEYS)
    for node in (one, two):
        node.start(network={"backend": kind})
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(lambda: answers(tools, a, c), "keys are known on both sides")
    with Netlink(one.ns) as first, Netlink(two.ns) as second:
        for kernel in (first, second):
            tools.eventually(lambda: len(kernel.routes(proto=147, table=254)) == 2, "routes to the other")  # noqa: B023
    with wire(dual_lab.fabric) as between:
        everyone_sees_everyone(dual_lab, tools, one, two, a, c)
        seen = between.seen()
    assert not {packet for packet in seen if {*a.ips, *c.ips} & {packet[0], packet[1]}}
    with Netlink(one.ns) as kernel:
        kernel.request([Delete(Link(device))])
        tools.eventually(lambda: [route.dev for route in kernel.routes(proto=147)][:1] == [device], "it is back")
    tools.eventually(lambda: answers(tools, a, c), "packets pass again")


@pytest.mark.parametrize(("kind", "name"), [("wireguard", "WireGuard"), ("ipsec", "IPsec")])
def test_a_node_whose_key_is_not_known_is_not_spoken_to_in_the_clear(lab: Any, kind: str, name: str) -> None:
    one = lab.node(1)
    two = lab.node(2)
    give(lab, KEYS)
    one.start(network={"backend": kind})
    two.start()  # a node that knows nothing of encryption
    a, c = one.pod("a"), two.pod("c")
    with wire(lab.fabric) as between:
        with netns.socket_in(a.ns, socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            assert connection.connect_ex((c.ips[0], 80)) != 0
        assert not {packet for packet in between.seen() if packet[1] == c.ips[0]}
    assert f"its agent has published no {name} key yet" in (one.root / "agent.log").read_text()


def test_a_borrowed_address_of_a_pool_is_found_from_everywhere(dual_lab: Any, tools: Any, backend: str) -> None:
    """IPv6 of the same pods goes as it is over ipip, which carries IPv4 alone."""
    give(dual_lab, KEYS)
    share(dual_lab)
    one, two = dual_lab.node(1), dual_lab.node(2)
    for node in (one, two):
        node.start(**pools(backend=backend))
    with wire(dual_lab.fabric) as between:
        everyone_finds_a_borrower(tools, one, two)
        seen = between.seen()
    assert (addresses(one)[0], addresses(two)[0], backend) in seen
    assert not {packet for packet in seen if packet[0].startswith("10.88.") or packet[1].startswith("10.88.")}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_page_shows_what_is_on_the_wire(tmp_path: Path, tools: Any, name: str) -> None:
    held(tmp_path, tools, name)
