"""Packets of every size: what fits passes whole, what does not is answered with the size that does, and none is lost.

On the bridge and by routed links, plain and through VXLAN, in both families; with a link that changes its MTU while
all runs, and with networks between the nodes that take less than the nodes' own links.
"""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.ports.node.conftest import PATIENCE, made_lab
from tests.ports.node.crossing import answers

from clew.dataplane.netlink.objects import BEHIND
from clew.kernel import netns
from clew.kernel.netlink import Netlink, SetLink

pytestmark = pytest.mark.root

STREAM = 1 << 20  # bytes
OURS, BIRD = 147, 12
WAYS = [("host-gw", (0, 0)), ("vxlan", (50, 70))]  # what is put around packets of IPv4 and IPv6
VXLAN = {"network": {"backend": "vxlan"}}
HEADERS = {4: 28, 6: 48}  # IP and UDP
DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}  # IP_MTU, IPV6_MTU
ONLY_WHOLE = 2  # IP_PMTUDISC_DO: DF on every packet


class Way:
    """From one pod to another by UDP, nothing cut on the way."""

    def __init__(self, sender: socket.socket, listener: socket.socket, family: int) -> None:
        self._sender, self._listener, self._family = sender, listener, family

    def passes(self, size: int) -> bool:
        """Whether an IP packet of this size arrives; what is refused on this side does not."""
        try:
            self._sender.send(bytes(size - HEADERS[self._family]))
            return len(self._listener.recv(1 << 16)) == size - HEADERS[self._family]
        except TimeoutError:
            return False
        except OSError as refused:
            if refused.errno != errno.EMSGSIZE:
                raise
            return False

    @property
    def known(self) -> int:
        """What the sender's kernel believes that the way takes: its link's MTU, or what it was told by ICMP."""
        return self._sender.getsockopt(*MTU[self._family])


@contextmanager
def way(source: Any, target: Any, at: int = 0) -> Iterator[Way]:
    address = target.ips[at]
    family = 6 if ":" in address else 4
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with (
        netns.socket_in(target.ns, kind, socket.SOCK_DGRAM) as listener,
        netns.socket_in(source.ns, kind, socket.SOCK_DGRAM) as sender,
    ):
        listener.bind((address, 0))
        listener.settimeout(0.5)
        sender.setsockopt(*DISCOVER[family], ONLY_WHOLE)
        sender.connect(listener.getsockname())
        yield Way(sender, listener, family)


def exactly(tools: Any, source: Any, target: Any, most: int, at: int = 0) -> None:
    """Packets of `most` bytes pass, larger ones do not, and the sender gets to know it from whoever refuses them."""
    with way(source, target, at) as path:
        tools.eventually(lambda: path.passes(most), f"{most} bytes pass")
        assert not path.passes(most + 1)
        tools.eventually(lambda: path.passes(most + 1) or path.known == most, f"the sender is told of {most}")
        assert path.known == most


def link_mtu(ns: Path, name: str) -> int:
    with Netlink(ns) as kernel:
        link = kernel.link(name)
        return link.mtu if link is not None else 0


def set_mtu(ns: Path, name: str, mtu: int) -> None:
    with Netlink(ns) as kernel:
        kernel.request([SetLink(name, mtu=mtu)])


@pytest.mark.parametrize("links", ["bridge", "routed"])
@pytest.mark.parametrize(("backend", "overheads"), WAYS)
def test_the_mtu_to_the_byte(dual_lab: Any, tools: Any, links: str, backend: str, overheads: tuple[int, int]) -> None:
    """Pods as large as the node's link: what the way between nodes does not take is answered by the node."""
    one, two = dual_lab.node(1), dual_lab.node(2)
    for node in (one, two):
        node.start(mtu=1500, network={"backend": backend, "links": links})
    a, b, c = one.pod("a"), one.pod("b"), two.pod("c")
    assert link_mtu(a.ns, "eth0") == 1500
    for at in range(2):
        exactly(tools, a, c, 1500 - overheads[at], at)
        exactly(tools, c, a, 1500 - overheads[at], at)
        with way(a, b, at) as near:
            tools.eventually(lambda: near.passes(1500), "on one node there is no tunnel")


@pytest.mark.parametrize("links", ["bridge", "routed"])
@pytest.mark.parametrize(("backend", "overheads"), WAYS)
def test_a_link_that_changes_its_mtu(
    dual_lab: Any, tools: Any, links: str, backend: str, overheads: tuple[int, int]
) -> None:
    overhead = max(overheads)
    one, two = dual_lab.node(1), dual_lab.node(2)
    for node in (one, two):
        node.start(network={"backend": backend, "links": links})
    old, c = one.pod("old"), two.pod("c")
    for node in (one, two):
        set_mtu(node.ns, "eth0", 1400)
    if links == "bridge":
        tools.eventually(lambda: link_mtu(one.ns, "cbr0") == 1400 - overhead, "the bridge follows")
    if backend == "vxlan":
        tools.eventually(lambda: link_mtu(one.ns, "vxlan6.clew") == 1400 - overhead, "and the tunnel's end")
    tools.eventually(lambda: one.pod_mtu() == 1400 - overhead, "and new pods")
    assert link_mtu(old.ns, "eth0") == 1500 - overhead, "a pod keeps what it was made with"
    for at in range(2):
        exactly(tools, old, c, 1400 - (overhead if links == "bridge" else overheads[at]), at)  # the far bridge is new
    for node in (one, two):
        set_mtu(node.ns, "eth0", 1500)
    tools.eventually(lambda: one.pod_mtu() == 1500 - overhead, "and back")


@pytest.mark.parametrize("told", [True, False])
def test_a_narrow_network_between(dual_lab: Any, tools: Any, told: bool) -> None:
    """Whether its router says so, or drops what is too large without a word, which the kernel never finds out."""
    dual_lab.subnet(1)
    one, far = dual_lab.node(1), dual_lab.node(3, subnet=1)
    set_mtu(dual_lab.fabric, "sw1", 1390)
    if not told:
        dual_lab.silence()
    for node in (one, far):
        node.start(**VXLAN)
    a, d = one.pod("a"), far.pod("d")
    tools.eventually(partial(narrow, one, far, [1340, 1320]), "the routes know")
    assert "takes packets of 1390 bytes, the link here 1500" in (one.root / "agent.log").read_text()
    for at, most in enumerate((1340, 1320)):
        exactly(tools, a, d, most, at)
    set_mtu(dual_lab.fabric, "sw1", 1500)
    one.stop()
    one.start(**VXLAN)  # which asks anew, and not only after a minute
    tools.eventually(partial(narrow, one, far, [0, 0]), "the routes know")


@pytest.mark.parametrize("probed", [True, False], ids=["probed", "not probed"])
@pytest.mark.parametrize("families", [(4,), (6,)], ids=["ipv4", "ipv6"])
def test_a_stream_through_a_narrow_network(tmp_path: Path, tools: Any, families: tuple[int, ...], probed: bool) -> None:
    with made_lab(tmp_path, families) as lab:
        passes_a_narrow_network(lab, tools, probed, backend="vxlan")


def passes_a_narrow_network(lab: Any, tools: Any, probed: bool, **network: Any) -> None:
    """What the router between says of the outer packets becomes true for those inside: no hole swallows a stream."""
    lab.subnet(1)
    set_mtu(lab.fabric, "sw1", 1390)
    one, far = lab.node(1), lab.node(3, subnet=1)
    for node in (one, far):
        node.start(network={**network, "probePathMtu": probed})
    a, d = one.pod("a"), far.pod("d")
    tools.eventually(lambda: answers(tools, a, d), "they know each other")
    assert carried(a, d) == STREAM


def carried(source: Any, target: Any) -> int:
    """How much of STREAM bytes arrives by TCP before there is silence for long."""
    address, taken = target.ips[0], 0
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        netns.socket_in(target.ns, kind, socket.SOCK_STREAM) as listener,
        netns.socket_in(source.ns, kind, socket.SOCK_STREAM) as out,
    ):
        listener.bind((address, 0))
        listener.listen()
        out.settimeout(PATIENCE)
        out.connect(listener.getsockname()[:2])
        sender = threading.Thread(target=_send_all, args=(out,))
        sender.start()
        into, _ = listener.accept()
        with into:
            into.settimeout(PATIENCE)
            with suppress(TimeoutError):
                while taken < STREAM and (found := into.recv(1 << 16)):
                    taken += len(found)
        sender.join(2 * PATIENCE)
    return taken


def _send_all(out: socket.socket) -> None:
    with suppress(OSError):  # the other end has given up, or nothing is acknowledged
        out.sendall(bytes(STREAM))


def test_a_switch_that_drops_without_a_word(lab: Any, tools: Any) -> None:
    """Two nodes of one subnet with links of 1500 bytes, and one cable between that takes less."""
    one, two, three = lab.node(1), lab.node(2), lab.node(3)
    set_mtu(lab.fabric, lab.port_of(two), 1390)
    for node in (one, two, three):
        node.start()
    a, b, c = one.pod("a"), three.pod("b"), two.pod("c")
    tools.eventually(partial(narrow, one, two, [1390]), "the route to the one behind it knows")
    exactly(tools, a, c, 1390)
    exactly(tools, a, b, 1500)


@pytest.mark.parametrize("protocol", ["bgp", "ospf"])
@pytest.mark.usefixtures("bird")
def test_routes_that_a_protocol_tells_know_what_the_path_takes(dual_lab: Any, tools: Any, protocol: str) -> None:
    """Once they had no MTU, and behind such a switch large packets were lost."""
    one, two = dual_lab.node(1), dual_lab.node(2)
    set_mtu(dual_lab.fabric, dual_lab.port_of(two), 1390)
    for node in (one, two):
        node.start(network={"backend": protocol})
    a, c = one.pod("a"), two.pod("c")
    tools.eventually(partial(narrow, one, two, [1390, 1390], BIRD), "the routes know", 3)
    exactly(tools, a, c, 1390)
    set_mtu(dual_lab.fabric, dual_lab.port_of(two), 1500)
    one.stop()
    one.start(network={"backend": protocol})  # which asks anew, and not only after a minute
    tools.eventually(partial(narrow, one, two, [0, 0], BIRD), "the routes know", 3)


def narrow(node: Any, other: Any, mtus: list[int], proto: int = OURS) -> bool:
    """What the routes to the other's pods say, where those that packets take are all of this kind."""
    with Netlink(node.ns) as kernel:
        every = [route for route in kernel.routes(table=254) if route.destination in other.cidrs]
    found = [route for route in every if route.metric != BEHIND]
    wanted = {(cidr, mtu, proto) for cidr, mtu in zip(other.cidrs, mtus, strict=True)}
    return {(route.destination, route.mtu, route.proto) for route in found} == wanted
