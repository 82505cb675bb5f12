from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.cluster.controllers.nodes.ranges import Ranges


def test_lowest_first_one_a_family() -> None:
    ranges = Ranges(("10.244.0.0/16", "fd00:10:244::/48"), 24, 64)
    assert ranges.choose([]) == ["10.244.0.0/24", "fd00:10:244::/64"]
    assert ranges.choose(["10.244.0.0/24", "fd00:10:244::/64"]) == ["10.244.1.0/24", "fd00:10:244:1::/64"]


def test_holes_are_filled() -> None:
    assert Ranges(("10.0.0.0/22",), 24, 64).choose(["10.0.0.0/24", "10.0.2.0/24"]) == ["10.0.1.0/24"]


def test_blocks_of_another_size_count_too() -> None:
    assert Ranges(("10.0.0.0/22",), 24, 64).choose(["10.0.0.128/25", "10.0.1.7/32"]) == ["10.0.2.0/24"]
    assert Ranges(("10.0.0.0/22",), 24, 64).choose(["0.0.0.0/0"]) is None


def test_a_range_that_is_used_up() -> None:
    assert Ranges(("10.0.0.0/24",), 25, 64).choose(["10.0.0.0/25", "10.0.0.128/25"]) is None


def test_a_block_larger_than_the_range_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="larger than the cluster's"):
        Ranges(("10.0.0.0/24",), 16, 64)


@given(st.lists(st.integers(0, 63), max_size=80))
def test_no_block_is_given_twice(releases: list[int]) -> None:
    ranges = Ranges(("10.0.0.0/20", "fd00::/58"), 25, 64)
    taken: list[list[str]] = []
    for release in releases:
        choice = ranges.choose([block for node in taken for block in node])
        if choice is None:
            assert len(taken) == 32
        else:
            for block in choice:
                assert not any(ip_network(block).overlaps(ip_network(each)) for node in taken for each in node
                               if (":" in each) == (":" in block))  # fmt: skip
            taken.append(choice)
        if taken and release % 3 == 0:
            taken.pop(release % len(taken))
