"""Reservations and the cluster's IPAMConfiguration: what of them acts; and sets of addresses as stretches."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clew.compile.ipam_rules import Rules, rules
from clew.compile.stretches import common, hits, stretch, without
from clew.facts import ipamconfiguration, ipreservation

stretches = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted).map(tuple), max_size=5)


def inside(some: Any) -> set[int]:
    return {number for low, high in some for number in range(low, high + 1)}


@given(stretches, stretches)
def test_stretches_are_sets(some: Any, others: Any) -> None:
    assert inside(common(some, others)) == inside(some) & inside(others)
    assert inside(without(some, others)) == inside(some) - inside(others)
    assert hits(some, 7, 9) == bool(inside(some) & {7, 8, 9})


def configuration(name: str = "default", **spec: Any) -> ipamconfiguration.IpamConfiguration:
    return ipamconfiguration.from_api({"metadata": {"name": name}, "spec": spec})


def test_without_objects_nothing_is_limited() -> None:
    assert rules([], []) == (Rules(), ())
    assert rules([configuration(strictAffinity=False)], []) == (Rules(), ()), "what is not said is as without it"


def test_what_is_said_acts() -> None:
    spec = {"strictAffinity": True, "maxBlocksPerHost": 4, "autoAllocateBlocks": False, "ipCooldownSeconds": 30}
    reserved = ipreservation.from_api(
        {"metadata": {"name": "r"}, "spec": {"reservedCIDRs": ["10.0.0.7", "10.0.1.9/24", "fd00::/126"]}}
    )
    found, problems = rules([configuration(**spec)], [reserved])
    assert found == Rules(
        True, 4, False, 30, {4: (stretch("10.0.0.7"), stretch("10.0.1.0/24")), 6: (stretch("fd00::/126"),)}
    )
    assert not problems
    limits = "strictAffinity, maxBlocksPerHost 4, autoAllocateBlocks false, ipCooldownSeconds 30"
    assert found.limits(4) == f"; IPAMConfiguration default has {limits}"


def test_what_is_wrong_is_said_by_field_and_the_rest_acts() -> None:
    _, broken = ipamconfiguration.decode(b'{"metadata": {"name": "default"}, "spec": {"strictAffinity": "yes"}}')
    _, rubbish = ipreservation.decode(b'{"metadata": {"name": "z"}, "spec": {"reservedCIDRs": "10.0.0.7"}}')
    mixed = ipreservation.Reservation("r", ("10.0.0.7", "10.0.0.300", ""))
    wrong = [configuration("mine"), configuration(maxBlocksPerHost=-1), configuration(ipCooldownSeconds=1201), broken]
    found, problems = rules(wrong, [rubbish, mixed])
    assert found == Rules(reserved={4: (stretch("10.0.0.7"),)})
    assert [f"{each.origin}: {each.field}" for each in problems] == [
        "IPAMConfiguration mine: metadata.name", "IPAMConfiguration default: spec.maxBlocksPerHost",
        "IPAMConfiguration default: spec.ipCooldownSeconds", "IPAMConfiguration default: spec",
        "IPReservation z: spec", "IPReservation r: spec.reservedCIDRs[1]", "IPReservation r: spec.reservedCIDRs[2]",
    ]  # fmt: skip
    assert "spec.strictAffinity" in problems[3].message
