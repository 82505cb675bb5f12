"""The physical network of a lab: switches, a router, the nodes' and the outside host's cables, all in namespaces."""

from clew.cluster.fabric.build import build, cut_hosts, plug_in, remove, set_cable, unplug
from clew.cluster.fabric.plan import MOST_NODES, OUTSIDE, RESERVED, ROOM, Fabric, Host, Subnet, plan

__all__ = [
    "MOST_NODES",
    "OUTSIDE",
    "RESERVED",
    "ROOM",
    "Fabric",
    "Host",
    "Subnet",
    "build",
    "cut_hosts",
    "plan",
    "plug_in",
    "remove",
    "set_cable",
    "unplug",
]
