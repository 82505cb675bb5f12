"""IPPools to what one node may do with them: which are in order, which are whose, where a new block may lie. Pure.

A pool that is wrong, or overlaps with an older one, gives out nothing and touches nothing that has been given out; the
verdict is the same on every node, so any of them may write it on the object (node/ipam/verdicts.py).
"""

import hashlib
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_network

from clew.base.addresses import network, overlap
from clew.base.errors import Problem
from clew.compile.asks import field
from clew.compile.calico_selectors import Labels, SelectorError, parse
from clew.compile.ipam import UnsuitableError
from clew.compile.ranges import no_pods
from clew.compile.stretches import Part, Stretch, common, merged, nth, size, stretch
from clew.facts.ipamblock import Block
from clew.facts.ippool import USES, IPPool
from clew.facts.pod_asks import POOLS

SIZES = {4: (20, 32), 6: (116, 128)}  # prefix lengths of a block, Calico's limits
_MOST_TRIES = 4096  # places that are looked at for a new block; a pool with more blocks than that has room elsewhere


def sound(pools: Iterable[IPPool], services: Sequence[str] = ()) -> tuple[dict[str, IPPool], tuple[Problem, ...]]:
    """The pools that can be used, by name, and what is wrong with the others: the first field of each.

    `services` are the ranges of Services' addresses.
    """
    good: dict[str, IPPool] = {}
    problems = []
    for pool in sorted(pools, key=lambda pool: (pool.created, pool.name)):
        problem = wrong_with(pool) or _with_services(pool, services) or _clash(pool, good.values())
        if problem is None:
            good[pool.name] = pool
        else:
            problems.append(problem)
    return dict(sorted(good.items())), tuple(problems)


def wrong_with(pool: IPPool) -> Problem | None:
    """What is wrong with a pool by itself."""
    if pool.malformed:
        return Problem(pool.origin, "spec", pool.malformed)
    try:
        range_ = ip_network(pool.cidr)
    except ValueError as wrong:
        return Problem(pool.origin, "spec.cidr", str(wrong))
    if why := no_pods(range_):
        return Problem(pool.origin, "spec.cidr", why)
    least, most = SIZES[range_.version]
    size = pool.block_size
    if not least <= size <= most:
        return Problem(
            pool.origin, "spec.blockSize", f"{size} is out of range: {least} to {most} for IPv{range_.version}"
        )
    if range_.prefixlen > size:
        text = f"{range_} is smaller than a block: spec.blockSize is {size}, so /{size} is the smallest pool"
        return Problem(pool.origin, "spec.cidr", text)
    unknown = [use for use in pool.allowed_uses if use not in USES]
    if unknown:
        return Problem(pool.origin, "spec.allowedUses", f"{unknown[0]} is not known: {' and '.join(USES)} are")
    for name, selector in (("nodeSelector", pool.node_selector), ("namespaceSelector", pool.namespace_selector)):
        try:
            parse(selector)
        except SelectorError as wrong:
            return Problem(pool.origin, f"spec.{name}", str(wrong))
    return None


def _with_services(pool: IPPool, services: Sequence[str]) -> Problem | None:
    for cidr in services:
        if overlap(ip_network(pool.cidr), network(cidr)):
            text = f"{pool.cidr} overlaps with {cidr}, the range of Services: no pod gets an address of this pool"
            return Problem(pool.origin, "spec.cidr", text)
    return None


def _clash(pool: IPPool, older: Iterable[IPPool]) -> Problem | None:
    for other in older:
        if overlap(ip_network(pool.cidr), ip_network(other.cidr)):
            text = f"{pool.cidr} overlaps with {other.cidr} of {other.origin}, which is {_before(other, pool)}"
            return Problem(
                pool.origin, "spec.cidr", f"{text}: {other.name} gives addresses, {pool.name} none while it is there"
            )
    return None


def _before(first: IPPool, second: IPPool) -> str:
    return "older" if first.created < second.created else "as old, and comes first by name"


def usable(good: Iterable[IPPool]) -> tuple[IPPool, ...]:
    """Those that give pods addresses, if only where a pod or its Namespace names them."""
    return tuple(pool for pool in good if not pool.disabled and "Workload" in pool.allowed_uses)


def chosen(
    usable: Sequence[IPPool], named: Mapping[int, Sequence[str]], node: Labels, namespace: Labels
) -> dict[int, tuple[IPPool, ...]]:
    """By family, the pools for one pod: those that it names, by name or range, or else those that select it.

    Whoever names a pool is not asked for labels, of node or namespace, as in Calico: that is what a pool with
    `nodeSelector: "!all()"` is for. UnsuitableError where one that is named is not to be had.
    """
    selecting = [
        pool for pool in usable
        if not pool.manual and parse(pool.node_selector)(node) and parse(pool.namespace_selector)(namespace)
    ]  # fmt: skip
    found = {family: tuple(pool for pool in selecting if pool.family == family) for family in SIZES}
    for family, names in named.items():
        for name in names:
            if not any(name in {pool.name, pool.cidr} and pool.family == family for pool in usable):
                text = f"{name!r} is no IPPool of IPv{family} that gives this node's pods addresses"
                raise UnsuitableError(f"{field(POOLS[family])}: {text}")
        found[family] = tuple(pool for name in names for pool in usable if name in {pool.name, pool.cidr})
    return {family: pools for family, pools in found.items() if pools}


def with_address(good: Mapping[str, IPPool], among: Sequence[IPPool], ip: str, asked_by: str) -> tuple[IPPool, ...]:
    """`among`, or of all that are in order the one that an address lies in. UnsuitableError where that gives none."""
    if not ip:
        return tuple(among)
    found = next((pool for pool in good.values() if within(pool, ip)), None)
    if found is None:
        listed = ", ".join(f"{pool.name} ({pool.cidr})" for pool in usable(good.values())) or "none"
        raise UnsuitableError(f"{asked_by}: {ip} is in no IPPool that gives this node's pods addresses: {listed}")
    if not usable((found,)):
        why = "is disabled" if found.disabled else "has allowedUses without Workload"
        raise UnsuitableError(f"{asked_by}: {ip} is in IPPool {found.name} ({found.cidr}), which {why}")
    return (found,)


def within_part(among: Sequence[IPPool], part: Part) -> tuple[IPPool, ...]:
    """Those that have any address of a part. UnsuitableError where none has."""
    found = tuple(pool for pool in among if common((stretch(pool.cidr),), part.stretches))
    if not found:
        listed = ", ".join(f"{pool.name} ({pool.cidr})" for pool in among) or "none"
        raise UnsuitableError(f"{part.text}: no address of it is in an IPPool for this pod: {listed}")
    return found


def free_cidrs(
    pool: IPPool, blocks: Iterable[Block], node: str, among: Iterable[Stretch], barred: Iterable[Stretch] = ()
) -> Iterable[str]:
    """Where a new block of a node may lie, the most likely first: no two nodes begin at the same place if it can be.

    Each has an address of `among`, which are parts of the pool, and none of `barred`. Looks at no more than _MOST_TRIES
    places beside those that are taken.
    """
    range_ = ip_network(pool.cidr)
    networks = (each for each in (block.network for block in blocks) if overlap(each, range_))
    taken = [(int(each.network_address), int(each.broadcast_address)) for each in networks]
    apart = merged([*taken, *common(barred, (stretch(pool.cidr),))])
    step = 1 << (range_.max_prefixlen - pool.block_size)
    places = [(first // step, last // step) for first, last in among]
    count = size(places)
    start = int.from_bytes(hashlib.sha256(node.encode()).digest()[:8], "big") % max(1, count)
    for number in range(min(count, _MOST_TRIES + len(taken))):
        low = nth(places, (start + number) % count) * step
        before = bisect(apart, (low + step,)) - 1  # of those that begin no later than the place ends, the last
        if before < 0 or apart[before][1] < low:
            yield f"{type(range_.network_address)(low)}/{pool.block_size}"


def within(pool: IPPool, cidr: str) -> bool:
    """Whether a block or an address lies in a pool."""
    inner, outer = _network(cidr), _network(pool.cidr)
    return inner.version == outer.version and overlap(inner, outer) and inner.prefixlen >= outer.prefixlen


def addresses(pool: IPPool) -> int:
    """How many a pool has."""
    return int(_network(pool.cidr).num_addresses)


def capacity(pool: IPPool) -> str:
    """The same for people: `65536`, and `2^80` where nobody reads the digits."""
    number = addresses(pool)
    return str(number) if number <= 1 << 32 else f"2^{number.bit_length() - 1}"


def around(pool: IPPool, text: str) -> str:
    """The block of a pool in which an address would lie."""
    return str(ip_network(f"{text}/{pool.block_size}", strict=False))


_network = lru_cache(maxsize=65536)(network)  # the same few are asked for again and again
