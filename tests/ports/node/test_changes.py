"""The way between nodes changed while agents run, by their configuration alone: how fast, at what loss."""

import errno
import socket
from functools import partial
from typing import Any

import pytest
from tests.ports.node.conftest import PATIENCE
from tests.ports.node.crossing import Stream, everyone_sees_everyone
from tests.ports.node.own_time import OwnTime

from clew.dataplane.bird import control
from clew.dataplane.netlink.objects import BEHIND
from clew.kernel import netns
from clew.kernel.netlink import Netlink
from clew.kernel.wireguard import KernelWireGuard
from clew.kernel.xfrm import KernelXfrm

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]

SECOND = PATIENCE / 15  # on a machine that others use as well it takes two of them at most
OURS, BIRD = 147, 12
BACKENDS: dict[str, dict[str, Any]] = {
    "host-gw": {"backend": "host-gw"},
    "vxlan": {"backend": "vxlan"},
    "vxlan of another number": {"backend": "vxlan", "vni": 7, "port": 4789},
    "bgp": {"backend": "bgp"},
    "ospf": {"backend": "ospf"},
    "host-gw again": {"backend": "host-gw"},
}
PROTOCOLS = ("bgp", "ospf")  # these tell in their own time; plain routes lead there from the first moment
TUNNELS = ("vxlan", "vxlan of another number", "bgp")  # and what comes after one


@pytest.fixture(params=["host-gw", "vxlan", "bgp", "ospf"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def within_a_second(tools: Any, lab: Any, condition: Any, what: str) -> None:
    spent = OwnTime(lab)
    tools.eventually(condition, what, 4)
    assert spent.seconds < 2 * SECOND, what


def knows(node: Any, *others: Any) -> bool:
    """Whether the node has the ways to these nodes' pods, at their addresses, and to nobody else's."""
    wanted = {other.cidrs[0]: other.addresses[0].partition("/")[0] for other in others}
    if (ends := _encrypted(node)) is not None:
        return ends == wanted
    with Netlink(node.ns) as kernel:
        found = [*kernel.routes(proto=BIRD), *kernel.routes(proto=OURS, table=254)]  # the latter have precedence
        ends = {entry.remote for entry in kernel.fdb() if entry.dev == "vxlan.clew" and entry.remote}
        tunnelled = kernel.link("vxlan.clew") is not None
    return {each.destination: each.via for each in found} == wanted and (not tunnelled or ends == {*wanted.values()})


def _encrypted(node: Any) -> dict[str, str] | None:
    """By pods' range the WireGuard peer that takes it, or the node that a policy names; None where neither is used."""
    with Netlink(node.ns) as kernel:
        if kernel.link("ipsec.clew") is not None:
            return _policies(node)
        if kernel.link("wg.clew") is None:
            return None
    peers = KernelWireGuard(node.ns).device("wg.clew").peers
    return {
        prefix: peer.endpoint.rpartition(":")[0]
        for peer in peers for prefix in peer.allowed if not prefix.endswith("/32")
    }  # fmt: skip


def _policies(node: Any) -> dict[str, str]:
    port = KernelXfrm(node.ns)
    try:
        out = [each for each in port.policies() if each.direction == "out" and each.needs and each.if_id]
    finally:
        port.close()
    return {each.target: each.needs.target for each in out if each.needs and not each.target.endswith("/32")}


def reaches(pod: Any, other: Any) -> bool:
    """Whether the other's kernel answers: nobody listens there."""
    with netns.socket_in(pod.ns, socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.3)
        return connection.connect_ex((other.ips[0], 9)) == errno.ECONNREFUSED


def settled(node: Any, other: Any, backend: str) -> bool:
    """Whether all that a backend needs is there and nothing of any other is."""
    with Netlink(node.ns) as kernel:
        plain = kernel.routes(proto=OURS, table=254)
        ours = {route.destination: route.dev for route in plain if route.metric != BEHIND}
        told = {route.destination for route in kernel.routes(proto=BIRD)}
        vxlan = kernel.link("vxlan.clew")
        rules = [rule for rule in kernel.rules() if rule.proto == OURS]
        wanted = set(other.cidrs)
        if backend.startswith("vxlan"):
            number = 7 if "number" in backend else 1
            ends = [entry for entry in kernel.fdb() if entry.dev == "vxlan.clew" and entry.remote]
            there = vxlan is not None and vxlan.detail.vni == number and len(ends) == 1  # type: ignore[union-attr]
            return there and ours == dict.fromkeys(wanted, "vxlan.clew") and not told and len(rules) == len(node.cidrs)
        if vxlan is not None or rules:
            return False
        if backend in PROTOCOLS:
            wanted = wanted if len(plain) == len(wanted) else {"a plain route behind each"}
            answer = control.ask(node.root / "state" / "bird" / "bird.ctl", "show protocols")
            return told == wanted and not ours and answer is not None and f" {backend.upper()} " in answer.text
        return ours == dict.fromkeys(wanted, "eth0") and not told


def follow_one(lab: Any, tools: Any, backend: str) -> None:
    """Each within a second, and two who have nothing to do with it lose nothing."""
    one, two, three = (lab.node(number) for number in (1, 2, 3))
    for node in (one, two, three):
        node.start(network={"backend": backend})
    for node, others in ((one, (two, three)), (three, (one, two))):
        tools.eventually(partial(knows, node, *others), "all know each other", 3)
    a, b, c = one.pod("a"), three.pod("b"), two.pod("c")
    with Stream(a.ns, b.ns, b.ips[0]) as aside:
        two.move("172.30.0.77/24")
        within_a_second(tools, lab, partial(knows, one, two, three), "it has moved")
        tools.eventually(partial(reaches, a, c), "its pods are reached at the new place")
        two.reboot()
        two.start(network={"backend": backend})
        d = two.pod("d")
        within_a_second(tools, lab, partial(reaches, a, d), "it is back")
        lab.api.put("nodes", two.name, None)
        within_a_second(tools, lab, partial(knows, one, three), "it is gone, and nothing of it is left")
        two.publish()
        within_a_second(tools, lab, partial(reaches, a, d), "it has joined")
        tools.eventually(lambda: aside.lost == 0, "nobody else notices")
    tools.eventually(partial(knows, one, two, three), "by the ways of this backend")


def test_from_each_backend_to_the_next_within_a_second(lab: Any, tools: Any) -> None:
    """What a protocol takes over, or leaves to plain routes, loses nothing; tunnels must be there at both ends."""
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start()
    a, b, c = one.pod("a"), one.pod("b"), two.pod("c")
    agents = [one.agent.pid, two.agent.pid]
    with Stream(a.ns, b.ns, b.ips[0]) as near:
        for backend, network in BACKENDS.items():
            with Stream(a.ns, c.ns, c.ips[0]) as across:
                spent = OwnTime(lab)
                tools.eventually(partial(across.more, 20), "it flows before")
                for node in (one, two):
                    node.configure(network=network)
                for node, other in ((one, two), (two, one)):
                    done = partial(settled, node, other, backend)
                    (tools.eventually if backend in PROTOCOLS else partial(within_a_second, tools, lab))(done, backend)
                tools.eventually(partial(across.more, 20), "it flows afterwards")
                if backend not in TUNNELS:
                    tools.eventually(lambda: across.lost == 0, f"nothing is lost on the way to {backend}")
                assert across.silence - spent.waited < 2 * SECOND
            everyone_sees_everyone(lab, tools, one, two, a, c)
        tools.eventually(lambda: near.lost == 0, "who does not leave the node notices nothing")
    assert agents == [one.agent.pid, two.agent.pid], "no agent was started anew"
    assert [one.agent.poll(), two.agent.poll()] == [None, None]


@pytest.mark.parametrize("backend", PROTOCOLS)
def test_nothing_is_lost_while_one_has_changed_and_the_other_has_not(lab: Any, tools: Any, backend: str) -> None:
    """Who changed first took back what it had told, and the other one had no way to its pods until it followed.

    On a cluster that is for up to a minute; here it was as long as the slower agent took, and was lost to chance.
    """
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(network={"backend": backend})
    a, c = one.pod("a"), two.pod("c")
    for node, other in ((one, two), (two, one)):
        tools.eventually(partial(settled, node, other, backend), "all is told", 3)
    with Stream(a.ns, c.ns, c.ips[0]) as there, Stream(c.ns, a.ns, a.ips[0]) as back:
        tools.eventually(lambda: there.more(20) and back.more(20), "it flows")
        two.configure(network={"backend": "host-gw"})
        tools.eventually(partial(settled, two, one, "host-gw"), "one has changed")
        tools.eventually(lambda: not _told(one), "what it told is taken back", 3)
        tools.eventually(partial(there.more, 20), "it flows there")
        tools.eventually(partial(back.more, 20), "and back")
        tools.eventually(lambda: (there.lost, back.lost) == (0, 0), "all the time")


def _told(node: Any) -> list[str]:
    with Netlink(node.ns) as kernel:
        return [route.destination for route in kernel.routes(proto=BIRD)]


def test_a_wrong_configuration_changes_nothing_and_the_next_right_one_is_followed(lab: Any, tools: Any) -> None:
    node, other = lab.node(1), lab.node(2)
    node.start()
    log = node.root / "agent.log"
    (node.root / "config.yaml").write_text("kind: Nonsense")
    tools.eventually(lambda: "is not followed: a document of kind 'Nonsense'" in log.read_text(), "it is said")
    (node.root / "config.yaml").unlink()
    tools.eventually(lambda: "cannot read" in log.read_text(), "and that it is gone")
    assert settled(node, other, "host-gw")
    node.configure(network={"backend": "vxlan"}, networkName="other")
    within_a_second(tools, lab, partial(settled, node, other, "vxlan"), "vxlan is there")
    assert "network_name acts with the agent's next start" in log.read_text()


def test_other_nodes_follow_one_that_moves_reboots_leaves_and_joins(lab: Any, tools: Any, backend: str) -> None:
    follow_one(lab, tools, backend)


def test_an_agent_that_is_started_anew_leaves_its_router_alone(lab: Any, tools: Any) -> None:
    """Once it ended BIRD before it had heard of any node, and routes went for a second."""
    one, two = lab.node(1), lab.node(2)
    for node in (one, two):
        node.start(network={"backend": "bgp"})
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(partial(settled, one, two, "bgp"), "routes are there")
    with Stream(a.ns, c.ns, c.ips[0]) as across:
        tools.eventually(partial(across.more, 20), "it flows")
        one.stop()
        one.start(network={"backend": "bgp"})
        tools.eventually(partial(across.more, 100), "it flows")
        tools.eventually(lambda: across.lost == 0, "all the time")
