"""The network between the nodes, as this node's kernel has it: what a link to them takes, and which subnets are near.

Reads the kernel and changes nothing. Called by apply.py.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from clew.base.value import Value
from clew.dataplane.netlink.objects import BRIDGE, LEAVING_GROUP, LINK_GROUP, ROUTE_PROTO
from clew.kernel.netlink import MAIN_TABLE, RtNetlink

LOOPBACK = "lo"
_ALONE = ("/32", "/128")


class Underlay(Value):
    """0 and nothing where no link has the node's addresses."""

    mtu: int = 0
    subnets: tuple[str, ...] = ()  # "172.30.0.11/24"
    links: tuple[str, ...] = ()  # that carry them


def underlay(kernel: RtNetlink, addresses: Iterable[str], tunnels: AbstractSet[str]) -> Underlay:
    """What carries a node's own `addresses`; the links named by `tunnels` have them too, and are not it.

    An address without a subnet may stand on a link that leads nowhere, such as the loopback one where the node speaks
    BGP to its rack: then it is the links with routers behind them that count, the narrowest of them.
    """
    wanted = set(addresses)
    found = (a for a in kernel.addresses() if a.dev not in tunnels)
    carried = [a for a in found if a.address.partition("/")[0] in wanted]
    near = [a for a in carried if not a.address.endswith(_ALONE)]
    names = {a.dev for a in near[:1]} or (_towards_routers(kernel, tunnels) if carried else set())
    mtus = [link.mtu for link in kernel.links() if link.name in names]
    return Underlay(min(mtus, default=0), tuple(sorted(a.address for a in near)), tuple(sorted({a.dev for a in near})))


def _towards_routers(kernel: RtNetlink, tunnels: AbstractSet[str]) -> set[str]:
    """Links with a router behind them; where no route says so, all that could have one."""
    others = {
        link.name for link in kernel.links()
        if link.up and link.name not in {LOOPBACK, BRIDGE, *tunnels} and link.group not in {LINK_GROUP, LEAVING_GROUP}
    }  # fmt: skip
    routes = [route for route in kernel.routes(table=MAIN_TABLE) if route.proto != ROUTE_PROTO]
    led = {route.dev for route in routes if route.via} | {hop.dev for route in routes for hop in route.hops}
    return others & led or others
