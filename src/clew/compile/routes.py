"""Nodes to routes between them. Pure: the whole set from the whole of what is known, for it is small.

A node without an address in a family is not reachable in it; of two nodes that claim one range the first by name has
it. Both are problems of the node, shown on it, and touch no other node's routes.
"""

from collections.abc import Iterable

from clew.base.addresses import Network, family_of, network
from clew.base.errors import Problem
from clew.facts.node import Node
from clew.ir.routes import PodRoute


def routes(nodes: Iterable[Node], own: str) -> tuple[dict[str, PodRoute], tuple[Problem, ...]]:
    """By destination, the ways from node `own` to the pods of all other nodes."""
    found: dict[str, PodRoute] = {}
    problems: list[Problem] = []
    ranges = _Ranges()
    for node in sorted(nodes, key=lambda node: (node.name != own, node.name)):  # our own ranges are ours first of all
        for place, text in enumerate(node.pod_cidrs):
            field = f"spec.podCIDRs[{place}]"
            try:
                cidr = network(text)
            except ValueError as wrong:
                problems.append(Problem(node.origin, field, str(wrong)))
                continue
            if (other := ranges.claim(cidr, node.name)) is not None:
                problems.append(Problem(node.origin, field, f"{cidr} overlaps with a range of node {other}"))
                continue
            via = next((ip for ip in node.internal_ips if family_of(ip) == cidr.version), None)
            if node.name != own and via is None:
                problems.append(Problem(node.origin, "status.addresses", f"no InternalIP of family IPv{cidr.version}"))
            elif node.name != own and via is not None:
                found[str(cidr)] = PodRoute(str(cidr), via, node.origin)
    return found, tuple(problems)


class _Ranges:
    """Who has which range."""

    def __init__(self) -> None:
        self._owners: dict[Network, str] = {}
        self._lengths: set[tuple[int, int]] = set()

    def claim(self, cidr: Network, name: str) -> str | None:
        """Enter `cidr` for `name`; where it overlaps with another's, leave things as they are and name that one."""
        other = self._owner_of_part(cidr)
        if other is None:
            self._owners[cidr] = name
            self._lengths.add((cidr.version, cidr.prefixlen))
        return other

    def _owner_of_part(self, cidr: Network) -> str | None:
        if cidr in self._owners:
            return self._owners[cidr]
        if all(version != cidr.version or length == cidr.prefixlen for version, length in self._lengths):
            return None  # ranges of one length overlap only where they are equal, and this is how clusters are
        return next((name for range_, name in self._owners.items() if _overlap(cidr, range_)), None)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
