from datetime import UTC, datetime
from typing import Any

import pytest

from clew.cluster.controllers.nodes.taints import by_condition, leaves_in, same, tolerates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("toleration", "taint", "expected"),
    [
        ({"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute"}, True),
        ({"key": "a", "operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}, True),
        ({"key": "a", "value": "b"}, {"key": "a", "value": "b", "effect": "NoSchedule"}, True),
        ({"key": "a", "value": "c"}, {"key": "a", "value": "b", "effect": "NoSchedule"}, False),
        ({"key": "a"}, {"key": "a", "effect": "NoSchedule"}, True),
        ({"key": "a", "operator": "Exists", "effect": "NoExecute"}, {"key": "a", "effect": "NoSchedule"}, False),
        ({"key": "b", "operator": "Exists"}, {"key": "a", "effect": "NoSchedule"}, False),
        ({}, {"key": "a", "effect": "NoSchedule"}, False),
    ],
)
def test_tolerations(toleration: dict[str, Any], taint: dict[str, Any], expected: bool) -> None:  # a table
    assert tolerates(toleration, taint) is expected


def node(ready: str, **spec: Any) -> dict[str, Any]:
    return {"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


@pytest.mark.parametrize(
    ("ready", "evict", "expected"),
    [
        ("True", True, []),
        ("False", True, [("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]),
        ("Unknown", True, [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]),
        ("Unknown", False, [("unreachable", "NoSchedule")]),
    ],
)
def test_conditions_taint(ready: str, evict: bool, expected: list[tuple[str, str]]) -> None:  # a table
    found = by_condition(node(ready), NOW, evict=evict)
    assert [(each["key"].removeprefix("node.kubernetes.io/"), each["effect"]) for each in found] == expected


def test_users_taints_stay_and_old_ones_of_ours_go() -> None:
    present = [{"key": "mine", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    assert by_condition(node("True", taints=present), NOW, evict=True) == [present[0]]


def test_the_time_of_a_taint_is_kept() -> None:
    old = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2025-12-31T23:00:00Z"}
    found = by_condition(node("Unknown", taints=[old]), NOW, evict=True)
    assert old in found
    assert same(found, [{**each, "timeAdded": None} for each in reversed(found)])


TAINT = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2025-12-31T23:59:00Z"}
KEY = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [([], 0.0), ([KEY], None), ([{**KEY, "tolerationSeconds": 300}], 240.0), ([{**KEY, "tolerationSeconds": 10}], 0.0),
     ([KEY, {**KEY, "tolerationSeconds": 300}], 240.0)],
)  # fmt: skip
def test_how_long_a_pod_stays(tolerations: list[Any], expected: float | None) -> None:
    assert leaves_in({"tolerations": tolerations}, [TAINT], NOW) == expected
