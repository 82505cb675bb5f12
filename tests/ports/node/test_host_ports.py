"""Ports of a node that lead to pods, with real packets: from outside, from the node, from pods, from the pod itself."""

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from clew.kernel import netns
from clew.kernel.netlink import Add, Address, Netlink, Route, SetLink

pytestmark = pytest.mark.root

HOST, POD = 8080, 80
MAPPED = {"portMappings": [{"hostPort": HOST, "containerPort": POD, "protocol": "tcp"}]}
UDP = {"portMappings": [{"hostPort": HOST, "containerPort": POD, "protocol": "udp"}]}


def source_seen(client: Path, pod: Any, address: str, port: int = HOST) -> str:
    """The address that the pod's server on POD sees of a client that asks `address`; "" where nobody answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.socket_in(pod.ns, family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", POD))
        listener.listen()
        listener.settimeout(30)
        with netns.socket_in(client, family, socket.SOCK_STREAM) as connection:
            connection.settimeout(3)
            if connection.connect_ex((address, port)):
                return ""
            accepted, peer = listener.accept()
            accepted.close()
            return str(peer[0])


def bare(address: str) -> str:
    return address.partition("/")[0]


def mapped_pod(node: Any, container: str, asked: dict[str, Any]) -> Any:
    pod = node.bare_pod(container)
    pod.attach(runtimeConfig=asked)
    return pod


def test_a_host_port_from_everywhere(dual_lab: Any) -> None:
    one, two = dual_lab.node(1), dual_lab.node(2)
    for node in (one, two):
        node.start()
    web, other, far = mapped_pod(one, "web", MAPPED), one.pod("other"), two.pod("far")
    outside = ["172.30.0.100", "fd00:172:30::64"]
    for at, address in enumerate(map(bare, one.addresses)):
        assert source_seen(dual_lab.outside, web, address) == outside[at], "from outside, as it is"
        assert source_seen(two.ns, web, address) == bare(two.addresses[at]), "from another node, as it is"
        assert source_seen(far.ns, web, address) == far.ips[at], "from a pod of another node, as it is"
        assert source_seen(other.ns, web, address) == other.ips[at], "from a neighbour, as it is"
        assert source_seen(one.ns, web, address) in one.own_ips(), "from the node itself, by one of its addresses"
        assert source_seen(web.ns, web, address) in one.own_ips(), (
            "from the pod itself, whose own address would confuse it"
        )
        assert source_seen(dual_lab.outside, web, bare(two.addresses[at])) == "", "another node has no such port"
    assert source_seen(one.ns, web, "127.0.0.1") in one.own_ips(), "by the loopback address"
    with netns.socket_in(one.ns, socket.AF_INET6, socket.SOCK_STREAM) as connection:
        connection.settimeout(3)
        assert connection.connect_ex(("::1", HOST)) == errno.ECONNREFUSED, "at once: `localhost` is tried so first"
    web.detach()
    for address in map(bare, one.addresses):
        assert source_seen(dual_lab.outside, web, address) == ""


def test_an_address_of_services_is_not_the_nodes(lab: Any) -> None:
    """Mode ipvs has the node carry every service's address: a pod with host port 80 took port 80 of all services."""
    one = lab.node(1)
    one.start(serviceCIDRs=["10.96.0.0/12"])
    with Netlink(one.ns) as netlink:
        netlink.request([Add(Address(f"{each}/32", "lo")) for each in ("10.96.0.9", "192.0.2.9")])
    web, other = mapped_pod(one, "web", MAPPED), one.pod("other")
    for client in (one.ns, other.ns):
        assert source_seen(client, web, "192.0.2.9"), "one of the node's own addresses, by its host port"
        assert source_seen(client, web, "10.96.0.9") == "", "a service's"


def test_a_host_port_of_a_routed_pod(lab: Any) -> None:
    one = lab.node(1)
    one.start(network={"links": "routed"})
    web, spy = mapped_pod(one, "web", MAPPED), one.pod("spy")
    assert source_seen(lab.outside, web, "172.30.0.11") == "172.30.0.100"
    assert source_seen(spy.ns, web, "172.30.0.11") == spy.ips[0]
    assert source_seen(one.ns, web, "127.0.0.1") in one.own_ips()
    assert source_seen(web.ns, web, "172.30.0.11") in one.own_ips()


def test_one_address_of_the_node_only(lab: Any) -> None:
    one = lab.node(1)
    one.start()
    web = mapped_pod(one, "web", {"portMappings": [{"hostPort": HOST, "containerPort": POD, "hostIP": "127.0.0.1"}]})
    assert source_seen(one.ns, web, "127.0.0.1") in one.own_ips()
    assert source_seen(lab.outside, web, "172.30.0.11") == ""


def test_the_loopback_address_is_not_opened_to_pods(lab: Any) -> None:
    """`route_localnet` on the bridge would let a pod speak to what listens on 127.0.0.1 of the node."""
    one = lab.node(1)
    one.start()
    mapped_pod(one, "web", MAPPED)
    spy = one.pod("spy")
    with netns.socket_in(one.ns, socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 9999))
        listener.listen()
        with Netlink(spy.ns) as kernel:
            kernel.request([SetLink("lo", up=False)])
            kernel.request([Add(Route("127.0.0.0/8", via="10.244.1.1", table=254))])
        with netns.socket_in(spy.ns, socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            with pytest.raises(OSError):  # noqa: PT011 - timed out or unreachable: both are what is wanted
                connection.connect(("127.0.0.1", 9999))


def test_udp_follows_the_pod(lab: Any) -> None:
    """A sender that never stops must reach the new pod, though its old connection is still in the kernel's table."""
    one = lab.node(1)
    one.start()
    with netns.socket_in(lab.outside, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("172.30.0.11", HOST))
        first = mapped_pod(one, "first", UDP)
        assert _received(first, sender) == ("172.30.0.100", b"hello")
        first.detach()
        second = mapped_pod(one, "second", UDP)
        assert _received(second, sender) == ("172.30.0.100", b"hello")


def _received(pod: Any, sender: socket.socket) -> tuple[str, bytes]:
    with netns.socket_in(pod.ns, socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("", POD))
        listener.settimeout(30)
        sender.send(b"hello")
        data, peer = listener.recvfrom(100)
        return peer[0], data


def test_an_agent_that_returns_changes_nothing_and_a_second_taker_is_refused(lab: Any) -> None:
    one = lab.node(1)
    one.start()
    web = mapped_pod(one, "web", MAPPED)
    before = one.nft("inet", "clew-hostports")
    one.stop()
    assert source_seen(lab.outside, web, "172.30.0.11") == "172.30.0.100", "without an agent too"
    one.start()
    assert one.nft("inet", "clew-hostports") == before, "handles and all"
    late = one.bare_pod("late")
    status, answer = one.cni("ADD", "late", late.ns, runtimeConfig=MAPPED)
    assert (status, answer["code"], answer["msg"]) == (1, 104, "host port 8080/TCP belongs to Pod default/web")
    assert source_seen(lab.outside, web, "172.30.0.11") == "172.30.0.100"
