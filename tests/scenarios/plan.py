"""The cluster in which every scenario plays: two nodes with two pods each, and a client outside. Both families."""

from dataclasses import dataclass, field

Family = int


@dataclass(frozen=True)
class Place:
    name: str
    node: str  # "" outside of the cluster
    addresses: dict[Family, str] = field(hash=False)


NODES = {
    "node-1": Place("node-1", "node-1", {4: "172.30.0.11", 6: "fd00:172:30::b"}),
    "node-2": Place("node-2", "node-2", {4: "172.30.0.12", 6: "fd00:172:30::c"}),
}
PODS = {
    name: Place(name, f"node-{number}", {4: f"10.244.{number}.{host}", 6: f"fd00:10:244:{number}::{host:x}"})
    for name, number, host in (("a", 1, 10), ("b", 1, 11), ("c", 2, 10), ("d", 2, 11))
}
OUTSIDE = {
    "outside": Place("outside", "", {4: "172.30.0.100", 6: "fd00:172:30::64"}),
    "outside/2": Place("outside/2", "", {4: "172.30.0.101", 6: "fd00:172:30::65"}),
}
GATEWAYS = {number: {4: f"10.244.{number}.1", 6: f"fd00:10:244:{number}::1"} for number in (1, 2)}
ROUTER = {4: "172.30.0.1", 6: "fd00:172:30::1"}
POD_CIDRS = ("10.244.0.0/16", "fd00:10:244::/48")
SERVICE_CIDRS = ("10.96.0.0/12", "fd00:10:96::/112")
# Addresses of load balancers, by the node to which the network outside sends them.
BALANCED = {
    "192.0.2.0/24": "node-1",
    "198.51.100.0/24": "node-2",
    "2001:db8:1::/64": "node-1",
    "2001:db8:2::/64": "node-2",
}


CARRIED = {4: "192.0.2.77", 6: "2001:db8:1::77"}  # a load balancer's address that node-1 has on its loopback


def local(node: str, family: Family) -> frozenset[str]:
    """The node's own addresses."""
    carried = {CARRIED[family]} if node == "node-1" else set()
    return frozenset({NODES[node].addresses[family], GATEWAYS[int(node[-1])][family], "127.0.0.1", "::1"} | carried)


def is_node(address: str) -> bool:
    return any(address in node.addresses.values() for node in NODES.values())


def place(name: str) -> Place:
    """`pod/a`, `node/node-1`, `outside`, `outside/2`."""
    kind, _, rest = name.partition("/")
    if kind == "pod":
        return PODS[rest]
    return NODES[rest] if kind == "node" else OUTSIDE[name]
