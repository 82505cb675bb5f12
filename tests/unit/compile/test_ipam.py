"""The choice of addresses: in turn, from the pool, never twice, and a sentence when there is none."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.compile.ipam import ExhaustedError, Pool, UnsuitableError, choose, pools
from clew.compile.stretches import part
from clew.facts.node import Node

POOLS = st.sampled_from(
    [Pool("10.244.1.0/24"), Pool("10.244.1.16/28"), Pool("10.0.0.0/30"), Pool("fd00:10:244:1::/64"), Pool("fd00::/126")]
)


def test_the_first_is_after_the_gateway() -> None:
    assert choose(Pool("10.244.1.0/24"), set()) == "10.244.1.2"
    assert choose(Pool("fd00:10:244:1::/64"), set()) == "fd00:10:244:1::2"
    assert choose(Pool("::10.0.0.0/120"), set()) == "::a00:2", "an IPv6 address with a small number stays one"


def test_one_that_came_free_waits_for_its_turn() -> None:
    pool = Pool("10.244.1.0/29")  # .2 to .6
    given_out = [choose(pool, set(), f"10.244.1.{n}") for n in (2, 3, 4, 5, 6)]
    assert given_out == ["10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6", "10.244.1.2"]


def test_a_previous_one_of_another_range_is_no_guide() -> None:
    assert choose(Pool("10.244.2.0/24"), set(), "10.244.1.77") == "10.244.2.2"


def test_exhaustion_names_the_range() -> None:
    pool = Pool("10.0.0.0/30")
    with pytest.raises(ExhaustedError, match=r"10\.0\.0\.0/30: all 1 are in use"):
        choose(pool, {"10.0.0.2"}, "10.0.0.2")


def test_a_part_of_the_pool() -> None:
    pool = Pool("10.244.1.0/24")
    few = part("f", [("10.244.1.250", "10.244.2.9"), ("10.244.1.9", "10.244.1.10"), ("10.244.1.10", "10.244.1.10")])
    taken: set[str] = set()
    last = ""
    for _ in range(7):
        last = choose(pool, taken, last, few)
        taken.add(last)
    assert sorted(taken) == ["10.244.1.10", *(f"10.244.1.{n}" for n in range(250, 255)), "10.244.1.9"]
    with pytest.raises(ExhaustedError, match=r"f 10\.244\.1\.250-10\.244\.2\.9, .*: all 7 are in use"):
        choose(pool, taken, last, few)
    with pytest.raises(
        UnsuitableError, match=r"f 10\.9\.0\.0-10\.9\.0\.255: no address of it is a pod's .*10\.244\.1\.0/24"
    ):
        choose(pool, set(), "", part("f", [("10.9.0.0", "10.9.0.255")]))
    with pytest.raises(UnsuitableError):
        choose(pool, set(), "", part("f", [("10.244.1.0", "10.244.1.1")]))


@given(POOLS, st.data())
def test_chosen_addresses_are_free_and_of_the_pool(pool: Pool, data: st.DataObject) -> None:
    network = ip_network(pool.cidr)
    offsets = st.integers(0, min(network.num_addresses, 300) - 1)
    taken = {str(network[offset]) for offset in data.draw(st.sets(offsets))}
    previous = data.draw(st.one_of(st.just(""), offsets.map(lambda offset: str(network[offset]))))
    free = [ip for ip in taken_free(pool) if ip not in taken]
    if not free:
        with pytest.raises(ExhaustedError):
            choose(pool, taken, previous)
        return
    chosen = choose(pool, taken, previous)
    assert chosen not in taken
    assert pool.first <= ip_address(chosen) <= pool.last
    assert ip_address(chosen) != pool.gateway


def taken_free(pool: Pool) -> list[str]:
    """The first few hundred that may be given out."""
    return [str(pool.first + step) for step in range(min(pool.size, 400))]


def test_the_pools_of_a_node() -> None:
    found, problems = pools(
        Node("n1", ("10.9.9.9",), pod_cidrs=("10.244.1.0/24", "fd00::/64", "10.9.0.0/24", "10.9.0.0/16", "10.0.0.0/31"))
    )
    assert [pool.cidr for pool in found] == ["10.244.1.0/24", "fd00::/64"]
    assert [(problem.field, problem.origin) for problem in problems] == [
        ("spec.podCIDRs[2]", "Node n1"),
        ("spec.podCIDRs[3]", "Node n1"),
        ("spec.podCIDRs[4]", "Node n1"),
    ]
    assert "has an IPv4 range already" in problems[0].message
