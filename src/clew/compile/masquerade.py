"""Who hides behind the node's address: pods that talk to what is not the cluster. Pure."""

from collections.abc import Iterable

from clew.compile.ipam import Pool
from clew.facts.node import Node
from clew.ir.routes import Masquerade


def masquerade(node: Node, pools: tuple[Pool, ...], nodes: Iterable[Node], cluster_cidrs: Iterable[str]) -> Masquerade:
    """`cluster_cidrs` are the configured ranges of all pods; nodes' own ranges are added, should they lie outside."""
    everyone = list(nodes)
    addresses = {ip for other in everyone for ip in (*other.internal_ips, *other.external_ips)}
    ranges = {*cluster_cidrs, *(cidr for other in everyone for cidr in other.pod_cidrs)}
    return Masquerade(tuple(pool.cidr for pool in pools), (*sorted(ranges), *sorted(addresses)), node.origin)
