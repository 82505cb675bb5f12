"""What holds for the addresses of all IPPools: reservations, and the cluster's IPAMConfiguration. Pure.

What is wrong does not act and is a problem; the rest acts.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from clew.base.addresses import family_of
from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile.stretches import Stretch, stretch
from clew.facts.ipamconfiguration import BLOCKS, NAME, IpamConfiguration
from clew.facts.ipreservation import Reservation
from clew.facts.node import POOLS, Node

MOST_COOLDOWN = 1200  # seconds, Calico's limit


class Barred(Value):
    """A range that no pod gets an address of from a pool, and why, for people."""

    cidr: str
    why: str


class Rules(Value):
    strict: bool = False  # nobody borrows
    most_blocks: int = BLOCKS  # of a family that a node may have
    carves: bool = True  # nodes make blocks of their own
    cooldown: int = 0  # seconds between two holders of an address
    reserved: Mapping[int, tuple[Stretch, ...]] = {}  # by family: only for who chooses them
    barred: Mapping[int, tuple[tuple[Stretch, Barred], ...]] = {}  # by family: for nobody

    def bar(self, family: int) -> tuple[Stretch, ...]:
        return tuple(each for each, _ in self.barred.get(family, ()))

    def why_barred(self, cidr: str) -> str:
        """Why nothing of a range, or an address, is to be had; empty where it is."""
        first, last = stretch(cidr)
        found = (one for (low, high), one in self.barred.get(family_of(cidr), ()) if first <= high and low <= last)
        return next((f"{one.cidr} {one.why}" for one in found), "")

    def limits(self, blocks: int) -> str:
        """Those that keep addresses from a node which has so many blocks, as their owner wrote them."""
        usual = " (as long as it names no other number)" * (self.most_blocks == BLOCKS)
        said = (
            "strictAffinity" * self.strict,
            f"maxBlocksPerHost {self.most_blocks}{usual}" * (blocks >= self.most_blocks),
            "autoAllocateBlocks false" * (not self.carves),
            f"ipCooldownSeconds {self.cooldown}" * bool(self.cooldown),
        )
        found = ", ".join(each for each in said if each)
        return f"; IPAMConfiguration {NAME} has {found}" if found else ""


def rules(
    configurations: Iterable[IpamConfiguration], reservations: Iterable[Reservation], barred: Iterable[Barred] = ()
) -> tuple[Rules, tuple[Problem, ...]]:
    problems = []
    chosen = IpamConfiguration()
    for each in configurations:
        wrong = _wrong_with(each)
        if wrong is None:
            chosen = each
        else:
            problems.append(wrong)
    reserved, more = _reserved(reservations)
    found = Rules(
        chosen.strict_affinity, chosen.max_blocks_per_host, chosen.auto_allocate_blocks, chosen.ip_cooldown_seconds,
        reserved, _by_family(barred),
    )  # fmt: skip
    return found, (*problems, *more)


def others(node: str, nodes: Iterable[Node]) -> list[Barred]:
    """What a node may not give out of pools for the sake of others: their own addresses, and what their pods may have.

    A Node's spec.podCIDRs are its pods' as long as its agent has not said that it takes from pools, too, and that those
    which it has are in IPAMBlocks.
    """
    found = []
    for each in nodes:
        found += [Barred(address, f"is an address of node {each.name}") for address in each.internal_ips]
        if each.name != node and each.ipam != POOLS:
            why = f"is in spec.podCIDRs of node {each.name}, whose agent does not say that it takes from IPPools"
            found += [Barred(cidr, why) for cidr in each.pod_cidrs]
    return found


def _by_family(barred: Iterable[Barred]) -> dict[int, tuple[tuple[Stretch, Barred], ...]]:
    found: dict[int, list[tuple[Stretch, Barred]]] = {}
    for each in barred:
        with suppress(ValueError):  # a Node whose field is wrong is said elsewhere
            found.setdefault(family_of(each.cidr), []).append((stretch(each.cidr), each))
    return {family: tuple(each) for family, each in found.items()}


def _wrong_with(one: IpamConfiguration) -> Problem | None:
    if one.name != NAME:
        return Problem(one.origin, "metadata.name", f"it is not looked at: the one named {NAME} is")
    if one.malformed:
        return Problem(one.origin, "spec", one.malformed)
    if one.max_blocks_per_host < 0:
        return Problem(one.origin, "spec.maxBlocksPerHost", f"{one.max_blocks_per_host} is less than 0")
    if not 0 <= one.ip_cooldown_seconds <= MOST_COOLDOWN:
        text = f"{one.ip_cooldown_seconds} is out of range: 0 to {MOST_COOLDOWN}"
        return Problem(one.origin, "spec.ipCooldownSeconds", text)
    return None


def _reserved(reservations: Iterable[Reservation]) -> tuple[dict[int, tuple[Stretch, ...]], list[Problem]]:
    found: dict[int, tuple[Stretch, ...]] = {}
    problems = []
    for each in reservations:
        if each.malformed:
            problems.append(Problem(each.origin, "spec", each.malformed))
        for place, text in enumerate(each.cidrs):
            try:
                found[family_of(text)] = (*found.get(family_of(text), ()), stretch(text))
            except ValueError as wrong:
                problems.append(Problem(each.origin, f"spec.reservedCIDRs[{place}]", str(wrong)))
    return found, problems
