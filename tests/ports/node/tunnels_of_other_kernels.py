"""Tunnels that this machine's kernel may not have; tests/vm/test_tunnels.py runs this file in a guest that has them."""

import socket
from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.captures import ELSEWHERE, held
from tests.ports.node.crossing import answers, everyone_sees_everyone, wire
from tests.ports.node.promises import keeps_them_all
from tests.ports.node.secret import KEYS, give
from tests.ports.node.test_changes import follow_one

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


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_page_shows_what_is_on_the_wire(tmp_path: Path, tools: Any, name: str) -> None:
    held(tmp_path, tools, name)
