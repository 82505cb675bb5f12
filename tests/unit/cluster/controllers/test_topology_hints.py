"""Endpoints for zones in proportion to their CPU, and every reason for which there are none."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.controllers.test_endpoints import pod, service

from clew.api.objects import Object
from clew.cluster.controllers.endpoints import topology_hints
from clew.cluster.controllers.endpoints.endpoint_slices import slices
from clew.cluster.controllers.endpoints.topology_hints import allot

THREE = {"a": Fraction(1, 3), "b": Fraction(1, 3), "c": Fraction(1, 3)}
TWO = {"a": Fraction(1, 2), "b": Fraction(1, 2)}


def node(name: str, zone: str = "a", cpu: str = "4", ready: str = "True", **more: str) -> Object:
    found = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {
        "metadata": {"name": name, "labels": found | more},
        "status": {"allocatable": {"cpu": cpu} if cpu else {}, "conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("1"), node("2", "b", "12")], {"a": Fraction(1, 4), "b": Fraction(3, 4)}),
        ([node("1"), node("2", "b", "500m"), node("3", cpu="3500m")], {"a": Fraction(15, 16), "b": Fraction(1, 16)}),
        ([node("1"), node("2", "b"), node("3", "c", ready="False")], TWO),
        ([node("1"), node("2", "b"), node("3", "", **{"node-role.kubernetes.io/control-plane": ""})], TWO),
        ([node("1"), node("2", "")], {}),
        ([node("1"), node("2", "b", "")], {}),
        ([], {}),
    ],
)
def test_shares_of_zones(nodes: list[Object], expected: dict[str, Fraction]) -> None:
    assert topology_hints.shares(nodes) == expected


@pytest.mark.parametrize(
    ("zones", "by_zone", "reason"),
    [
        ("ab", {}, "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"),
        ("aa", {"a": Fraction(1)}, "Nodes only ready in one zone"),
        ("ab", THREE, "Insufficient number of endpoints (2 endpoints, 3 zones)"),
        (
            "abb",
            TWO,
            f"{topology_hints.OVERLOADED} (3 endpoints, 2 zones)",
        ),
        (["a", "", "b", "b"], TWO, "One or more endpoints do not have a zone specified"),
    ],
)
def test_reasons_for_no_hints(zones: Any, by_zone: dict[str, Fraction], reason: str) -> None:
    assert allot(list(zones), by_zone) == ([], reason)


@pytest.mark.parametrize(
    ("zones", "by_zone", "expected"),
    [
        ("ab", TWO, "ab"),
        ("aabb", TWO, "aabb"),
        ("aaaa", TWO, "bbaa"),  # one zone has them all: half of them serve the other
        ("aaaabbb", TWO, "aaaabbb"),  # half an endpoint too many is not worth a move
        ("aab", {"a": Fraction(2, 5), "b": Fraction(3, 5)}, "bab"),
        ("aaabbbccc", THREE, "aaabbbccc"),
        ("aaaaaabbc", THREE, "bccaaabbc"),
        ("ddab", TWO, "ddab"),  # a zone without nodes of its own: what is there stays with it
    ],
)
def test_who_is_for_which_zone(zones: str, by_zone: dict[str, Fraction], expected: str) -> None:
    assert "".join(allot(list(zones), by_zone)[0]) == expected


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.integers(1, 9), min_size=2, max_size=3))
def test_no_endpoint_bears_a_fifth_more_than_its_share(zones: list[str], cpus: list[int]) -> None:
    by_zone = {zone: Fraction(cpu, sum(cpus)) for zone, cpu in zip("abc", cpus, strict=False)}
    zones = [zone for zone in zones if zone in by_zone]
    hints, reason = allot(zones, by_zone)
    if reason:
        return
    got = Counter(hints)
    for zone, share in by_zone.items():
        assert got[zone], "a zone without endpoints would be served by none"
        off = abs(got[zone] - share * len(zones))
        assert share * len(zones) / got[zone] <= Fraction(6, 5) or off < 1, (zone, got)


ZONES = {f"n{number}": node(f"n{number}", zone) for number, zone in enumerate("abc", 1)}


def asking(value: str = "Auto", **spec: Any) -> Object:
    found = service(**spec)
    found["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": value}
    return found


def pods(*nodes: str, **more: Any) -> list[Object]:
    return [
        pod(f"p{number}", f"10.0.0.{number}", spec={"nodeName": name}, **more) for number, name in enumerate(nodes, 1)
    ]


def hinted(found: list[Object]) -> list[str | None]:
    return [
        each["hints"]["forZones"][0]["name"] if "hints" in each else None
        for piece in found
        for each in piece["endpoints"]
    ]


def test_a_service_that_asks_gets_hints_on_ready_endpoints() -> None:
    members = pods("n1", "n2", "n3")
    members.append(pod("late", "10.0.0.9", ready=False))
    spec = {"ports": [{"port": 80, "targetPort": 8080}]}
    plan = slices(asking(**spec, trafficDistribution="PreferClose"), members, ZONES, [])
    assert hinted(plan.changes.create) == ["a", "b", "c", None]
    assert plan.hints == {"IPv4": ""}
    for value in ("Disabled", ""):
        plan = slices(asking(value, **spec), members, ZONES, [])
        assert hinted(plan.changes.create) == [None] * 4
        assert plan.hints == {}


def test_hints_go_when_the_reason_for_them_goes() -> None:
    spec = {"ports": [{"port": 80, "targetPort": 8080}]}
    members = pods("n1", "n2", "n3")
    existing = slices(asking(**spec), members, ZONES, []).changes.create
    for number, each in enumerate(existing):
        each["metadata"] |= {"name": f"web-{number}", "resourceVersion": "1"}
    assert slices(asking(**spec), members, ZONES, existing).changes.nothing
    plan = slices(asking(**spec), members[:2], ZONES, existing)
    assert hinted(plan.changes.update) == [None, None]
    assert plan.hints == {"IPv4": "Insufficient number of endpoints (2 endpoints, 3 zones)"}
