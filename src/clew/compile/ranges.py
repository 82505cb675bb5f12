"""Whose a range of pods is, of what Nodes say: one that can be no pods', or is another's already, is nobody's. Pure.

Such a range is a problem of its node, shown on it, and touches no other's. Called by node/podnet.py before anything
else is made of the list of nodes, and by node/ipam for the node's own.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from clew.base.addresses import Network, address, network, overlap
from clew.base.errors import Problem
from clew.facts.node import Node

NO_PODS = {  # ranges that no link of a pod can have, or that other hosts take for something else
    "0.0.0.0/8": "this host", "127.0.0.0/8": "loopback", "169.254.0.0/16": "link-local", "224.0.0.0/4": "multicast",
    "::/96": "loopback", "::ffff:0:0/96": "IPv4 in IPv6's words", "fe80::/10": "link-local", "ff00::/8": "multicast",
}  # fmt: skip
_NO_PODS = [(network(cidr), what) for cidr, what in NO_PODS.items()]


def no_pods(found: Network) -> str:
    """Why no pod can have an address of it; empty where some can."""
    touched = next(((cidr, what) for cidr, what in _NO_PODS if overlap(found, cidr)), None)
    return f"{found} overlaps with {touched[0]}: {touched[1]} is no pod's" if touched else ""


def unfit(text: str, node: Node) -> str:
    """Why a range of a node's can be none of pods; empty where it can."""
    found = network(text)
    if why := no_pods(found):
        return why
    held = next((ip for ip in node.internal_ips if address(ip) in found), "")
    return f"{found} holds the node's own address {held}: packets for nodes would be led to pods" if held else ""


def claimed(nodes: Iterable[Node], own: str) -> tuple[tuple[Node, ...], tuple[Problem, ...]]:
    """The nodes, each with the ranges that are its own alone; those of node `own` are its own first of all.

    An InternalIP of node `own` is no other's: a way to it would end here.
    """
    ranges, problems = _Ranges(), []
    ordered = sorted(nodes, key=lambda node: (node.name != own, node.name))
    ours = ordered[0].internal_ips if ordered and ordered[0].name == own else ()
    sound = []
    for node in ordered:
        good = []
        problems += [Problem(node.origin, field, why) for field, why in node.wrong]
        for place, text in enumerate(node.pod_cidrs):
            if why := unfit(text, node) or ranges.claim(network(text), node.name):
                problems.append(Problem(node.origin, f"spec.podCIDRs[{place}]", why))
            else:
                good.append(text)
        taken = [ip for ip in node.internal_ips if node.name != own and ip in ours]
        problems += [Problem(node.origin, "status.addresses", f"{ip} is an address of node {own}") for ip in taken]
        left = tuple(ip for ip in node.internal_ips if ip not in taken)
        sound.append(replace(node, pod_cidrs=tuple(good), internal_ips=left))
    return tuple(sound), tuple(problems)


class _Ranges:
    """Who has which range."""

    def __init__(self) -> None:
        self._owners: dict[Network, str] = {}
        self._lengths: set[tuple[int, int]] = set()

    def claim(self, cidr: Network, name: str) -> str:
        """Enter `cidr` for `name`; where it overlaps with another's, leave things as they are and say so."""
        other = self._owner_of_part(cidr)
        if other is not None:
            return f"{cidr} overlaps with a range of node {other}"
        self._owners[cidr] = name
        if cidr.num_addresses > 1:
            self._lengths.add((cidr.version, cidr.prefixlen))
        return ""

    def _owner_of_part(self, cidr: Network) -> str | None:
        """Single addresses inside another's range are not counted: they are lent, and the longest prefix wins."""
        if cidr in self._owners:
            return self._owners[cidr]
        if all(version != cidr.version or length == cidr.prefixlen for version, length in self._lengths):
            return None  # ranges of one length overlap only where they are equal, and this is how clusters are
        if cidr.num_addresses == 1:
            return None
        owners = self._owners.items()
        return next((name for range_, name in owners if range_.num_addresses > 1 and overlap(cidr, range_)), None)
