"""Who hides behind the node's address: pods that talk to what is not the cluster. Pure."""

from collections.abc import Iterable

from clew.facts.node import Node
from clew.ir.routes import Masquerade


def masquerade(
    node: Node, sources: Iterable[str], nodes: Iterable[Node], cluster_cidrs: Iterable[str], plain: Iterable[str] = ()
) -> Masquerade:
    """`sources` are ranges of the node's pods that may hide, none of them where nobody may.

    `cluster_cidrs` are the configured ranges of all pods; nodes' own are added, should they lie outside. To `plain`,
    networks beyond the cluster that know the way to pods, nothing is translated either.
    """
    everyone = list(nodes)
    addresses = {ip for other in everyone for ip in (*other.internal_ips, *other.external_ips)}
    ranges = {*cluster_cidrs, *(cidr for other in everyone for cidr in other.pod_cidrs), *plain}
    return Masquerade(tuple(sources), (*sorted(ranges), *sorted(addresses)), node.origin)
