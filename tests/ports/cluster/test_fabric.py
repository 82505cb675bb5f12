"""The fabric in the kernel: who reaches whom, cables cut and joined, a new cable for a node, a fabric that was lost."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from clew.cluster.fabric import Subnet, build, cut_hosts, plan, plug_in, remove, set_cable, unplug
from clew.cluster.fabric.build import CABLE
from clew.cluster.fabric.plan import FABRIC
from clew.cluster.paths import LabPaths
from clew.kernel import netns
from clew.kernel.netlink import Netlink

pytestmark = pytest.mark.root

PLAN = plan(
    {"one": "east", "two": "east", "three": "west"},
    (
        Subnet("east", ("172.30.0.0/24", "fd00:172:30::/64")),
        Subnet("west", ("172.31.0.0/24", "fd00:172:31::/64"), 1400),
    ),
)


@pytest.fixture
def paths() -> Iterator[LabPaths]:
    made = LabPaths(f"fabric{os.getpid()}")
    try:
        build(made, PLAN)
        for host in PLAN.nodes:
            plug_in(made, host)
        yield made
    finally:
        remove(made)
        for folder in (made.netns_dir, made.run, made.run.parent):
            with suppress(OSError):
                folder.rmdir()
    assert not made.run.exists()


def reaches(paths: LabPaths, one: str, other: str, attempts: int = 10) -> bool:
    """Whether a datagram of each family comes from one host to the other; each attempt takes a second at most."""
    return all(any(_arrives(paths, one, other, ip) for _ in range(attempts)) for ip in PLAN.host(other).ips)


def _arrives(paths: LabPaths, one: str, other: str, ip: str) -> bool:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    receiver = netns.socket_in(paths.netns(other), family, socket.SOCK_DGRAM)
    sender = netns.socket_in(paths.netns(one), family, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((ip, 4000))
        receiver.settimeout(1)
        with suppress(OSError):
            for _ in range(2):  # the first may wait for the neighbour's address until it is too late
                sender.sendto(b"hello", (ip, 4000))
            return receiver.recv(10) == b"hello"
    return False


def test_everybody_reaches_everybody_over_the_switch_and_the_router(paths: LabPaths) -> None:
    for one, other in (("one", "two"), ("one", "three"), ("three", "outside"), ("outside", "one")):
        assert reaches(paths, one, other), (one, other)
    with Netlink(paths.netns("three")) as kernel:
        link = kernel.link(CABLE)
    assert link is not None
    assert link.mtu == 1400


def test_building_again_changes_nothing(paths: LabPaths) -> None:
    before = {host.name: netns.identity(paths.netns(host.name)) for host in PLAN.hosts}
    build(paths, PLAN)
    assert {host.name: netns.identity(paths.netns(host.name)) for host in PLAN.hosts} == before
    assert reaches(paths, "one", "three")


def test_a_cut_cable_is_told_and_joins_again(paths: LabPaths) -> None:
    two = PLAN.host("two")
    set_cable(paths, two, joined=False)
    assert cut_hosts(paths, PLAN) == ["two"]
    assert not reaches(paths, "one", "two", attempts=1)
    assert reaches(paths, "one", "three")
    set_cable(paths, two, joined=True)
    assert cut_hosts(paths, PLAN) == []
    assert reaches(paths, "one", "two")


def test_plugged_in_again_a_host_has_a_new_network(paths: LabPaths) -> None:
    before = netns.identity(paths.netns("two"))
    with netns.socket_in(paths.netns("two"), socket.AF_INET, socket.SOCK_DGRAM):  # somebody holds on to the old one
        plug_in(paths, PLAN.host("two"))
    assert netns.identity(paths.netns("two")) != before
    assert reaches(paths, "one", "two")
    assert reaches(paths, "two", "three")


def test_an_unplugged_host_is_gone_and_leaves_no_port(paths: LabPaths) -> None:
    unplug(paths, PLAN.host("two"))
    assert not netns.pinned(paths.netns("two"))
    with Netlink(paths.netns(FABRIC)) as kernel:
        assert kernel.link(PLAN.host("two").port) is None
    build(paths, PLAN)  # a node without a namespace is off: building does not switch it on
    assert not netns.pinned(paths.netns("two"))


def test_a_lost_fabric_is_built_again_around_the_hosts_that_run(paths: LabPaths) -> None:
    before = netns.identity(paths.netns("one"))
    netns.delete(paths.netns(FABRIC))
    build(paths, PLAN)
    assert netns.identity(paths.netns("one")) == before
    assert reaches(paths, "one", "three")
    assert reaches(paths, "two", "outside")
