"""Which address a pod gets: the pools' layout and the choice. Pure; node/attachments.py keeps what was chosen.

Round robin over the pool, as host-local does: an address that came free is the last to be given out again, so that
neither a peer's cache nor a connection that dies slowly meets another pod under it.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Network

from clew.base.addresses import Address, Network, address, network
from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile.ranges import unfit
from clew.compile.stretches import Part, Stretch, before, common, nth, size
from clew.facts.node import Node


class Pool(Value):
    """One range of a node. Its first address is the gateway; that, network and IPv4 broadcast are never given out."""

    cidr: str

    @property
    def network(self) -> Network:
        return network(self.cidr)

    @property
    def gateway(self) -> Address:
        return self.network[1]

    @property
    def first(self) -> Address:
        return self.network[2]

    @property
    def last(self) -> Address:
        """The last one to be given out."""
        return self.network[-2] if isinstance(self.network, IPv4Network) else self.network[-1]

    @property
    def size(self) -> int:
        return max(0, int(self.last) - int(self.first) + 1)

    def with_length(self, chosen: Address | str) -> str:
        """`10.244.1.5` -> `10.244.1.5/24`."""
        return f"{chosen}/{self.network.prefixlen}"


class ExhaustedError(Exception):
    """Every address is taken; the text says where, `details` what is to be enlarged."""

    def __init__(self, text: str, details: str) -> None:
        self.details = details
        super().__init__(text)


class UnsuitableError(Exception):
    """An address that somebody asked for cannot be given; the text says why."""


def pools(node: Node) -> tuple[tuple[Pool, ...], tuple[Problem, ...]]:
    """Its own ranges, one a family: the first that is usable; the others are problems."""
    chosen: dict[int, Pool] = {}
    problems = []
    for place, cidr in enumerate(node.pod_cidrs):
        field, found = f"spec.podCIDRs[{place}]", network(cidr)
        if why := unfit(cidr, node):
            problems.append(Problem(node.origin, field, why))
        elif found.num_addresses < 4:
            problems.append(Problem(node.origin, field, f"{cidr} has no room for a gateway and a pod"))
        elif found.version in chosen:
            problems.append(Problem(node.origin, field, f"{cidr}: this node has an IPv{found.version} range already"))
        else:
            chosen[found.version] = Pool(str(found))
    return tuple(chosen.values()), tuple(problems)


def strays(pools: Sequence[Pool], held: Iterable[tuple[str, str]]) -> tuple[Problem, ...]:
    """Of the pods' addresses, with their origins, those that are in none of the node's ranges."""
    listed = ", ".join(pool.cidr for pool in pools)
    text = f"is not in this node's spec.podCIDRs ({listed}): other nodes do not know the way to it: delete the pod"
    bare = ((origin, each.partition("/")[0]) for origin, each in held)
    return tuple(
        Problem(origin, "status.podIPs", f"{each} {text}")
        for origin, each in bare if not any(address(each) in pool.network for pool in pools)
    )  # fmt: skip


def fixed(asked: Iterable[str], pools: Iterable[Pool], taken: AbstractSet[str]) -> dict[Pool, str]:
    """The pool of each address that was asked for. UnsuitableError where it is in none, not a pod's, or taken."""
    found: dict[Pool, str] = {}
    for text in asked:
        chosen = address(text)
        pool = next((pool for pool in pools if chosen in pool.network), None)
        if pool is None:
            raise UnsuitableError(f"{text} is in none of this node's ranges")
        if not int(pool.first) <= int(chosen) <= int(pool.last):
            raise UnsuitableError(f"{text} is no pod's in {pool.cidr}: it is the gateway, the network or the broadcast")
        if text in taken:
            raise UnsuitableError(f"{text} is in use by another pod")
        found[pool] = text
    return found


def choose(pool: Pool, taken: AbstractSet[str], previous: str = "", part: Part | None = None) -> str:
    """The next free address after `previous` (the one that was given out last), from the front again at the end.

    `taken` holds bare addresses, of whatever range; `part` is all of the pool that is wanted. Raises ExhaustedError, or
    UnsuitableError where no address of the part is a pod's here. Looks at no more than len(taken) + 1 candidates, so a
    /64 is as quick as a /24.
    """
    among: tuple[Stretch, ...] = ((int(pool.first), int(pool.last)),)
    if part is not None:
        among = common(among, part.stretches)
        if not among:
            raise UnsuitableError(f"{part.text}: no address of it is a pod's in this node's range {pool.cidr}")
    in_family = type(pool.gateway)  # a small IPv6 number would pass for IPv4
    start = before(among, int(address(previous)) + 1) if previous else 0
    count = size(among)
    for step in range(min(count, len(taken) + 1)):
        candidate = str(in_family(nth(among, (start + step) % count)))
        if candidate not in taken:
            return candidate
    if part is not None:
        raise ExhaustedError(f"no free address in {part.text}: all {count} are in use", f"of range {pool.cidr}")
    raise ExhaustedError(
        f"no free address in {pool.cidr}: all {pool.size} are in use", "the node's spec.podCIDRs are used up"
    )
