"""Sets of addresses of one family as stretches, pairs of numbers (first, last): what of a pool may be given out. Pure.

Reservations cut holes into pools, and runtimes ask for ranges that end anywhere: neither is a prefix.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from clew.base.value import Value

Stretch = tuple[int, int]


class Part(Value):
    """What somebody named of the addresses of a family, and its text for a refusal."""

    stretches: tuple[Stretch, ...]
    text: str


def part(field: str, pairs: Iterable[tuple[str, str]]) -> Part:
    """From the first and last addresses of ranges that a field names."""
    pairs = tuple(pairs)
    listed = ", ".join(f"{first}-{last}" for first, last in pairs)
    apart: tuple[Stretch, ...] = ()
    for first, last in pairs:
        apart += without(((int(ip_address(first)), int(ip_address(last))),), apart)
    return Part(apart, f"{field} {listed}")


def stretch(text: str) -> Stretch:
    """Of an address or a range, whose host bits do not matter. ValueError names the text."""
    if "/" not in text:
        alone = int(ip_address(text))
        return alone, alone
    found = ip_network(text, strict=False)
    return int(found.network_address), int(found.broadcast_address)


def common(some: Iterable[Stretch], others: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """What is in both."""
    others = tuple(others)
    pairs = ((max(one[0], other[0]), min(one[1], other[1])) for one in some for other in others)
    return tuple((low, high) for low, high in pairs if low <= high)


def without(some: Iterable[Stretch], taken: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """What is left of some, in their order; thousands that are taken do no harm."""
    holes = sorted(taken)
    left = []
    for begin, last in some:
        first = begin
        for low, high in holes:
            if first <= high and low <= last:
                left.append((first, low - 1))
                first = high + 1
        left.append((first, last))
    return tuple((first, last) for first, last in left if first <= last)


def merged(some: Iterable[Stretch]) -> list[Stretch]:
    """The same numbers in as few stretches as they take, in their order."""
    found: list[Stretch] = []
    for first, last in sorted(some):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def size(some: Iterable[Stretch]) -> int:
    return sum(last - first + 1 for first, last in some)


def nth(some: Iterable[Stretch], number: int) -> int:
    """The number at a place among them, one after the other. IndexError beyond their end."""
    for first, last in some:
        if number <= last - first:
            return first + number
        number -= last - first + 1
    raise IndexError(number)


def before(some: Iterable[Stretch], number: int) -> int:
    """How many numbers of them come before one of theirs; 0 for one that is not theirs."""
    passed = 0
    for first, last in some:
        if first <= number <= last:
            return passed + number - first
        passed += last - first + 1
    return 0


def hits(some: Iterable[Stretch], low: int, high: int) -> bool:
    """Whether any of them has a number from `low` to `high`."""
    return any(first <= high and low <= last for first, last in some)
