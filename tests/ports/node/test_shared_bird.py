"""A BIRD that runs on the node already and serves somebody else, too; and tunnels beside a protocol, across subnets."""

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.crossing import Stream, addresses, everyone_sees_everyone, wire
from tests.ports.node.test_mtu import narrow, set_mtu

from clew.dataplane.bird import control
from clew.kernel.netlink import Netlink

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("bird")]

BIRD, OURS = 12, 147
FOREIGN = "203.0.113.0/24"


Started = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(bird: Path) -> Iterator[Started]:
    """Somebody's own BIRD on a node: a static route, and a file of Clew's included."""
    running: list[subprocess.Popen[bytes]] = []

    def run(node: Any, *, includes: bool = True, synced: bool = True) -> "subprocess.Popen[bytes]":
        folder = node.root / "etc"
        folder.mkdir(exist_ok=True)
        (folder / "clew.conf").touch()
        lines = [
            "router id 198.51.100.7;", "protocol device { }",
            f"protocol static theirs {{ ipv4; route {FOREIGN} via 172.30.0.100; }}",
            "protocol kernel theirs_too { ipv4 { import none; export all; }; }" if synced else "",
            f'include "{folder}/clew.conf";' if includes else "",
        ]  # fmt: skip
        (folder / "bird.conf").write_text("\n".join(lines) + "\n")
        command = ["nsenter", f"--net={node.ns}", bird, "-f", "-c", folder / "bird.conf", "-s", folder / "ctl"]
        running.append(subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL))
        return running[-1]

    yield run
    for each in running:
        each.terminate()
        each.wait(60)


def shared(node: Any, **more: Any) -> dict[str, Any]:
    folder = node.root / "etc"
    return {"backend": "bgp", "bird": {"socket": f"{folder}/ctl", "include": f"{folder}/clew.conf"}, **more}


def learnt(node: Any) -> dict[str, str]:
    with Netlink(node.ns) as kernel:
        return {route.destination: route.via for route in kernel.routes(proto=BIRD) if route.kind == "unicast"}


def since(node: Any) -> float:
    """When somebody else's protocol came up, second of the day: another time means that it was started anew."""
    answer = control.ask(node.root / "etc" / "ctl", "show protocols")
    rows = [row.split() for row in answer.text.splitlines()] if answer is not None else []
    times = [row[4] for row in rows if row[0] == "theirs" and row[3] == "up"]
    return (
        sum(60**power * float(part) for power, part in zip((2, 1, 0), times[0].split(":"), strict=True)) if times else 0
    )


@pytest.mark.parametrize("synced", [True, False], ids=["with a kernel protocol", "without"])
def test_one_that_runs_already_is_told_our_part_and_keeps_its_own(
    lab: Any, tools: Any, start: Started, synced: bool
) -> None:
    one, two = lab.node(1), lab.node(2)
    set_mtu(lab.fabric, lab.port_of(two), 1390)
    theirs = start(one, synced=synced)
    tools.eventually(lambda: since(one), "it runs")
    before = since(one)
    one.start(network=shared(one))
    two.start(network={"backend": "bgp"})
    way = {two.cidrs[0]: "172.30.0.12"}
    tools.eventually(lambda: learnt(one) == (way | {FOREIGN: "172.30.0.100"} if synced else way), "both ways")
    tools.eventually(lambda: learnt(two) == {one.cidrs[0]: "172.30.0.11"}, "and nothing of theirs is announced")
    a, c = one.pod("a"), two.pod("c")
    everyone_sees_everyone(lab, tools, one, two, a, c)
    tools.eventually(partial(narrow, one, two, [1390], BIRD), "whoever enters the route, it says what the path takes")
    assert not (one.root / "state" / "bird").exists(), "no second one"
    with Stream(a.ns, c.ns, c.ips[0]) as across:
        tools.eventually(partial(across.more, 20), "it flows")
        for node in (one, two):  # away from it: plain routes, and the file says nothing more
            node.configure(network={**shared(node), "backend": "host-gw"} if node is one else {"backend": "host-gw"})
        tools.eventually(lambda: learnt(one) == ({FOREIGN: "172.30.0.100"} if synced else {}), "ours are gone")
        tools.eventually(partial(across.more, 20), "it flows")
        tools.eventually(lambda: across.lost == 0, "all the time")
    assert (one.root / "etc" / "clew.conf").read_text().count("\n") == 1
    assert since(one) == pytest.approx(before, abs=0.1), "BIRD rounds as it likes"
    assert theirs.poll() is None


def test_one_that_does_not_include_our_file_is_named(lab: Any, tools: Any, start: Started) -> None:
    one, two = lab.node(1), lab.node(2)
    start(one, includes=False)
    tools.eventually(lambda: since(one), "it runs")
    one.start(network=shared(one))
    log = one.root / "agent.log"
    tools.eventually(lambda: f'add the line include "{one.root}/etc/clew.conf";' in log.read_text(), "it is said")
    with Netlink(one.ns) as kernel:
        assert [route.via for route in kernel.routes(proto=OURS)] == addresses(two), "plain routes serve meanwhile"


def test_a_protocol_inside_and_a_tunnel_across_subnets(dual_lab: Any, tools: Any) -> None:
    """As Calico's CrossSubnet with BGP: what crosses the router, which knows no pods, is encapsulated."""
    dual_lab.subnet(1)
    one, two, far = dual_lab.node(1), dual_lab.node(2), dual_lab.node(3, subnet=1)
    for node in (one, two, far):
        node.start(network={"backend": "bgp", "crossSubnet": True, "overlay": "vxlan"})
    tools.eventually(lambda: set(learnt(one)) == set(two.cidrs), "BIRD leads to the near one, and not to the far", 2)
    for node, other in ((one, far), (far, one), (two, far)):
        tools.eventually(partial(_tunnelled, node, other), "a tunnel leads there")
    a, c, d = one.pod("a"), two.pod("c"), far.pod("d")
    with wire(dual_lab.fabric) as between:
        everyone_sees_everyone(dual_lab, tools, one, two, a, c)
        near = between.seen()
        everyone_sees_everyone(dual_lab, tools, one, far, a, d)
        away = between.seen()
    assert not any(carrier for _, _, carrier in near)
    for at, _ in enumerate(dual_lab.families):
        assert (a.ips[at], c.ips[at], "") in near
        assert (addresses(one)[at], addresses(far)[at], "vxlan") in away
    assert not {packet for packet in away if {*d.ips} & {packet[0], packet[1]}}, "the router knows no pods"


def _tunnelled(node: Any, other: Any) -> bool:
    with Netlink(node.ns) as kernel:
        ways = {route.destination: route.dev for route in kernel.routes(proto=OURS, table=254)}
    return [ways.get(cidr) for cidr in other.cidrs] == ["vxlan.clew", "vxlan6.clew"]
