"""What is beneath the pod network: the link that carries the node's address, or the ways out where it stands alone."""

import pytest

from clew.dataplane.netlink.objects import LINK_GROUP
from clew.dataplane.netlink.underlay import Underlay, underlay
from clew.kernel.netlink import Add, Address, Bridge, Link, Nexthop, Route
from clew.kernel.netlink.fake import FakeNetlink

DEFAULT = Route("0.0.0.0/0", via="172.30.0.1", dev="eth0")


def kernel(*more: Address | Route) -> FakeNetlink:
    made = FakeNetlink()
    links = [
        Link("eth0", up=True, mtu=9000), Link("eth1", up=True, mtu=8000),
        Link("docker0", Bridge(), up=True, mtu=1500), Link("cbr0", Bridge(), up=True, mtu=1400),
        Link("veth1", up=True, mtu=1300, group=LINK_GROUP), Link("off", mtu=100), Link("vxlan.clew", up=True, mtu=1450),
    ]  # fmt: skip
    made.request([Add(each) for each in (*links, Address("172.30.0.11/24", "eth0"), *more)])
    return made


@pytest.mark.parametrize(
    ("own", "more", "found"),
    [
        ("172.30.0.11", [DEFAULT], Underlay(9000, ("172.30.0.11/24",), ("eth0",))),
        ("172.30.0.99", [DEFAULT], Underlay()),
        ("192.0.2.1", [Address("192.0.2.1/32", "lo"), DEFAULT], Underlay(9000)),
        ("192.0.2.1", [Address("192.0.2.1/32", "eth1"), DEFAULT], Underlay(9000)),
        (
            "192.0.2.1",
            [
                Address("192.0.2.1/32", "lo"),
                Route("0.0.0.0/0", hops=(Nexthop("172.30.0.1", "eth0"), Nexthop("fe80::1", "eth1"))),
            ],
            Underlay(8000),
        ),
        ("192.0.2.1", [Address("192.0.2.1/32", "lo")], Underlay(1500)),
        (
            "192.0.2.1",
            [Address("192.0.2.1/32", "vxlan.clew"), Address("192.0.2.1/24", "eth1"), DEFAULT],
            Underlay(8000, ("192.0.2.1/24",), ("eth1",)),
        ),
    ],
    ids=["a-subnet", "nowhere", "loopback", "alone", "two-ways", "no-router", "and-a-tunnel"],
)
def test_what_is_beneath(own: str, more: list[Address | Route], found: Underlay) -> None:
    """Pods of nodes that have their address on the loopback link had an MTU of 65486."""
    assert underlay(kernel(*more), [own], {"vxlan.clew"}) == found
