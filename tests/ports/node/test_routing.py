"""Routes to pods by BGP and OSPF: the real agents with the real BIRD, a router beside them, and what goes away."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.crossing import addresses, answers

from clew.kernel.netlink import Netlink

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]

BIRD = 12  # RTPROT_BIRD


def learnt(node: Any) -> dict[str, str]:
    """What BIRD entered into the node's kernel: by destination, the way."""
    with Netlink(node.ns) as kernel:
        return {route.destination: route.via for route in kernel.routes(proto=BIRD)}


def start(tools: Any, nodes: list[Any], **network: Any) -> None:
    for node in nodes:
        node.start(network=network)
    for node in nodes:
        others = {
            cidr: address for other in nodes if other is not node
            for cidr, address in zip(other.cidrs, addresses(other), strict=True)
        }  # fmt: skip
        tools.eventually(lambda: learnt(node) == others, f"{node.name} knows the others' pods", 2)  # noqa: B023


def test_routes_stay_while_the_agent_is_away_and_go_with_the_backend(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    start(tools, [one, two], backend="bgp")
    a, c = one.pod("a"), two.pod("c")
    one.stop()
    assert learnt(one) == {"10.244.2.0/24": "172.30.0.12"}
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0]
    for node in (one, two):
        node.stop()
        node.start()
        tools.eventually(lambda: learnt(node) == {}, "nothing of BIRD is left")  # noqa: B023
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0], "host-gw took over"


def test_a_route_reflector_tells_its_clients(lab: Any, tools: Any) -> None:
    nodes = [lab.node(number) for number in (1, 2, 3)]
    start(tools, nodes, backend="bgp", bgp={"routeReflectors": ["node1"]})
    for node, neighbours in zip(nodes, (2, 1, 1), strict=True):
        text = (node.root / "state" / "bird" / "bird.conf").read_text()
        assert text.count(" neighbor ") == neighbours, "clients speak to the reflector alone"


@pytest.fixture
def rack(lab: Any, bird: Path, tmp_path: Path) -> Iterator[Any]:
    """The router at the top of the rack, in the outside host's namespace; what it has learnt, by destination."""
    config = tmp_path / "rack.conf"
    config.write_text(
        "router id 172.30.0.100;\nprotocol device { }\n"
        "protocol kernel { ipv4 { import none; export all; }; }\n"
        + "".join(
            f"protocol bgp n{n} {{ local 172.30.0.100 as 65000; neighbor 172.30.0.1{n} as 64512; connect retry time 1;"
            f" connect delay time 1; error wait time 1, 2; passive; ipv4 {{ import all; export all; }}; }}\n"
            for n in (1, 2)
        )
    )
    command = ["nsenter", f"--net={lab.outside}", bird, "-f", "-c", config, "-s", tmp_path / "rack.ctl"]
    router = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def learnt_routes() -> dict[str, str]:
        with Netlink(lab.outside) as kernel:
            return {route.destination: route.via for route in kernel.routes(proto=BIRD)}

    yield learnt_routes
    router.terminate()
    router.wait(60)


def test_a_router_outside_learns_of_pods_and_leads_to_them(lab: Any, tools: Any, rack: Any) -> None:
    """No mesh: nodes hear of each other by the router alone, whose way leads to the node itself."""
    one, two = lab.node(1), lab.node(2)
    peers = [{"address": "172.30.0.100", "asn": 65000}]
    start(tools, [one, two], backend="bgp", bgp={"mesh": False, "peers": peers})
    ways = {"10.244.1.0/24": "172.30.0.11", "10.244.2.0/24": "172.30.0.12"}
    tools.eventually(lambda: rack() == ways, "it told them of each other, and its own kernel of both")
    a, c = one.pod("a"), two.pod("c")
    assert tools.seen_source(a.ns, c.ns, c.ips[0]) == a.ips[0]
    assert tools.seen_source(lab.outside, a.ns, a.ips[0]) == "172.30.0.100"


def test_a_router_that_is_not_there_keeps_nobody_from_the_others(lab: Any, tools: Any) -> None:
    """BIRD once waited four minutes for it before it told the kernel anything."""
    peers = [{"address": "172.30.0.100", "asn": 65000}]
    start(tools, [lab.node(1), lab.node(2)], backend="bgp", bgp={"peers": peers})


@pytest.mark.parametrize("protocol", ["bgp", "ospf"])
def test_a_router_that_is_killed_is_back_before_the_next_reading(lab: Any, tools: Any, protocol: str) -> None:
    """All is read every 30 s; two times one after the other cannot be that. OSPF's neighbours give up after four."""
    one, two = lab.node(1), lab.node(2)
    start(tools, [one, two], backend=protocol)
    a, c = one.pod("a"), two.pod("c")
    pid = one.root / "state" / "bird" / "pid"
    for _ in range(2):
        before = pid.read_text()
        os.kill(int(before), signal.SIGKILL)
        tools.eventually(lambda: pid.read_text().strip() and pid.read_text() != before, "it is begun anew")  # noqa: B023
        tools.eventually(lambda: answers(tools, a, c), "packets pass")
    tools.eventually(lambda: learnt(two) == {"10.244.1.0/24": "172.30.0.11"}, "its neighbour has heard", 2)


def test_a_node_that_goes_is_forgotten(lab: Any, tools: Any) -> None:
    one, two = lab.node(1), lab.node(2)
    start(tools, [one, two], backend="bgp")
    lab.api.put("nodes", two.name, None)
    tools.eventually(lambda: learnt(one) == {}, "its routes are gone")


def test_a_machine_without_bird_is_told_so(lab: Any, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/usr/sbin/bird").exists():
        monkeypatch.setattr("clew.dataplane.bird.homes.PATH", "")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    one = lab.node(1)
    one.start(network={"backend": "bgp"})
    said = one.root / "agent.log"
    tools.eventually(lambda: "there is no program bird: install BIRD 2" in said.read_text(), "it is said")
