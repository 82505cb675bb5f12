"""Links, addresses, routes, neighbours and rules of a network namespace, by rtnetlink on standard sockets.

    with Netlink(ns) as kernel:
        kernel.request([Add(Link("br0", Bridge(), up=True)), Add(Address("10.0.0.1/24", "br0"))])

The port (`RtNetlink`), the real socket (`Netlink`) and the stand-in (`FakeNetlink`, in fake.py) pass one suite,
tests/ports/test_netlink.py. pyroute2 is the oracle there and nothing here: its import costs 150 ms and it forks to
enter a namespace.
"""

from clew.kernel.errors import KernelError
from clew.kernel.netlink.channel import Netlink
from clew.kernel.netlink.monitor import AddressChanged, Event, LinkChanged, Monitor, Overrun, RouteGone
from clew.kernel.netlink.port import RtNetlink
from clew.kernel.netlink.requests import Add, Delete, DeleteGroup, Request, SetLink
from clew.kernel.netlink.values import (
    MAIN_TABLE,
    Address,
    Bridge,
    Detail,
    Fdb,
    Filter,
    Link,
    Neighbour,
    Nexthop,
    Peer,
    Plain,
    Qdisc,
    Redirect,
    Route,
    Rule,
    Thing,
    TokenBucket,
    Veth,
    Vxlan,
    XfrmInterface,
    clsact,
    tbf,
)

__all__ = [
    "MAIN_TABLE",
    "Add",
    "Address",
    "AddressChanged",
    "Bridge",
    "Delete",
    "DeleteGroup",
    "Detail",
    "Event",
    "Fdb",
    "Filter",
    "KernelError",
    "Link",
    "LinkChanged",
    "Monitor",
    "Neighbour",
    "Netlink",
    "Nexthop",
    "Overrun",
    "Peer",
    "Plain",
    "Qdisc",
    "Redirect",
    "Request",
    "Route",
    "RouteGone",
    "RtNetlink",
    "Rule",
    "SetLink",
    "Thing",
    "TokenBucket",
    "Veth",
    "Vxlan",
    "XfrmInterface",
    "clsact",
    "tbf",
]
