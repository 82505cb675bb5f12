"""What holds for the addresses of all IPPools: reservations, and the cluster's IPAMConfiguration. Pure.

What is wrong does not act and is a problem; the rest acts.
"""

from collections.abc import Iterable, Mapping

from clew.base.addresses import family_of
from clew.base.errors import Problem
from clew.base.value import Value
from clew.compile.stretches import Stretch, stretch
from clew.facts.ipamconfiguration import BLOCKS, NAME, IpamConfiguration
from clew.facts.ipreservation import Reservation

MOST_COOLDOWN = 1200  # seconds, Calico's limit


class Rules(Value):
    strict: bool = False  # nobody borrows
    most_blocks: int = BLOCKS  # of a family that a node may have
    carves: bool = True  # nodes make blocks of their own
    cooldown: int = 0  # seconds between two holders of an address
    reserved: Mapping[int, tuple[Stretch, ...]] = {}  # by family: only for who chooses them

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
    configurations: Iterable[IpamConfiguration], reservations: Iterable[Reservation]
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
        reserved,
    )  # fmt: skip
    return found, (*problems, *more)


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
