from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clew.api.conditions import find
from clew.api.objects import Object, clone
from clew.base.clock import rfc3339
from clew.cluster.controllers.deployment import revisions
from clew.cluster.controllers.deployment.rollout import limits
from clew.cluster.controllers.deployment.status import look_again, overdue, status
from clew.cluster.controllers.expectations import LOOK_AGAIN

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE = {"metadata": {"labels": {"run": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


def deployment(replicas: int = 2, conditions: list[Object] | None = None, **more: Any) -> Object:
    spec = {"replicas": replicas, "template": clone(TEMPLATE), "selector": {"matchLabels": {"run": "web"}},
            "progressDeadlineSeconds": 600}  # fmt: skip
    return {
        "metadata": {"name": "web", "namespace": "d", "uid": "d", "generation": 4, "annotations": {"who": "me"}},
        "spec": spec | more, "status": {"conditions": conditions or []},
    }  # fmt: skip


def replica_set(name: str, size: int, available: int | None = None, revision: int = 1) -> Object:
    template = clone(TEMPLATE)
    template["spec"]["containers"][0]["image"] = name
    template["metadata"]["labels"][revisions.HASH_LABEL] = name
    there = size if available is None else available
    return {
        "metadata": {"name": name, "annotations": {revisions.REVISION: str(revision)}},
        "spec": {"replicas": size, "template": template},
        "status": {"replicas": size, "readyReplicas": there, "availableReplicas": there},
    }


def progressing(reason: str, age: float, state: str = "True") -> Object:
    moment = rfc3339(NOW - timedelta(seconds=age))
    return {"type": "Progressing", "status": state, "reason": reason, "message": "", "lastUpdateTime": moment,
            "lastTransitionTime": moment}  # fmt: skip


def found(given: Object, new: Object | None, *old: Object) -> tuple[Object, Object]:
    made = status(given, new, [*old, *([new] if new else [])], limits(given), NOW)
    return made, dict(find(made["conditions"], "Progressing") or {})


def test_complete() -> None:
    made, progress = found(deployment(), replica_set("new", 2))
    assert (made["replicas"], made["updatedReplicas"], made["availableReplicas"], made["observedGeneration"]) == (
        2,
        2,
        2,
        4,
    )
    assert progress["reason"] == "NewReplicaSetAvailable"
    assert progress["message"] == 'ReplicaSet "new" has successfully progressed.'
    assert find(made["conditions"], "Available")["status"] == "True"  # type: ignore[index]  # it has one


def test_under_way() -> None:
    made, progress = found(deployment(4), replica_set("new", 2, 1), replica_set("old", 3))
    assert (made["replicas"], made["updatedReplicas"], made["unavailableReplicas"]) == (5, 2, 1)
    assert progress["reason"] == "ReplicaSetUpdated"


def test_stuck() -> None:
    stuck = deployment(2, [progressing("ReplicaSetUpdated", 601)])
    stuck["status"] |= {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2}
    _, progress = found(stuck, replica_set("new", 1, 0), replica_set("old", 2))
    assert (progress["status"], progress["reason"]) == ("False", "ProgressDeadlineExceeded")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (progressing("ReplicaSetUpdated", 100), 500.0),
        (progressing("ReplicaSetUpdated", 700), 0.0),
        (progressing("NewReplicaSetAvailable", 700), None),
        (progressing("DeploymentPaused", 700), None),
        (progressing("ProgressDeadlineExceeded", 700), None),
    ],
)
def test_deadline(condition: Object, expected: float | None) -> None:
    assert overdue(deployment(2, [condition]), NOW) == expected
    assert look_again(deployment(2, [condition]), NOW) == (LOOK_AGAIN if expected == 0 else expected)


def test_a_deadline_that_passes_while_the_status_is_written_is_not_forgotten() -> None:
    """`kubectl rollout status` waited for ever: not over yet when the status was made, and over right after."""
    late = deployment(2, [progressing("ReplicaSetUpdated", 600)])
    assert look_again(late, NOW - timedelta(milliseconds=1)) == pytest.approx(0.001)
    assert look_again(late, NOW + timedelta(milliseconds=1)) == LOOK_AGAIN


def test_pause_is_shown() -> None:
    _, progress = found(deployment(paused=True), None, replica_set("old", 2))
    assert (progress["status"], progress["reason"]) == ("Unknown", "DeploymentPaused")
    _, progress = found(deployment(2, [progressing("DeploymentPaused", 5, "Unknown")]), None, replica_set("old", 2))
    assert progress["reason"] == "DeploymentResumed"


def test_a_failure_to_make_pods_is_passed_on_and_taken_back() -> None:
    broken = replica_set("new", 2, 0)
    broken["status"]["conditions"] = [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    ]
    made, _ = found(deployment(), broken)
    assert find(made["conditions"], "ReplicaFailure")["message"] == "quota"  # type: ignore[index]  # it has one
    made, _ = found(deployment(2, made["conditions"]), replica_set("new", 2))
    assert find(made["conditions"], "ReplicaFailure") is None


def test_the_present_set_is_known_by_its_template_alone() -> None:
    new = revisions.new_set(deployment(), 2, 3, 3)
    assert revisions.present(deployment(), [replica_set("old", 2), new]) is new
    assert new["metadata"]["name"] == f"web-{new['metadata']['labels'][revisions.HASH_LABEL]}"
    assert new["spec"]["selector"]["matchLabels"].keys() == {"run", revisions.HASH_LABEL}
    assert new["metadata"]["annotations"] == {
        "who": "me", revisions.REVISION: "3", revisions.DESIRED: "2", revisions.MOST: "3",
    }  # fmt: skip
    new["spec"]["template"]["metadata"]["creationTimestamp"] = None
    assert revisions.present(deployment(), [new]) is new


def test_a_set_that_comes_back_remembers_its_earlier_revisions() -> None:
    old = replica_set("old", 0, revision=2)
    notes = revisions.noted(deployment(), old, 5)
    assert (notes[revisions.REVISION], notes[revisions.HISTORY]) == ("5", "2")
    old["metadata"]["annotations"] = notes
    assert revisions.noted(deployment(), old, 8)[revisions.HISTORY] == "2,5"


def test_the_hash_is_stable_and_avoids_collisions() -> None:
    assert revisions.template_hash(TEMPLATE) == revisions.template_hash(clone(TEMPLATE))
    assert revisions.template_hash(TEMPLATE, 1) != revisions.template_hash(TEMPLATE)


def test_history_beyond_the_limit_is_forgotten_but_never_a_set_with_pods() -> None:
    old = [replica_set(f"r{n}", 0, revision=n) for n in (3, 1, 2)]
    old.append(replica_set("busy", 1, revision=0))
    found_ = revisions.to_forget(deployment(revisionHistoryLimit=1), old)
    assert [each["metadata"]["name"] for each in found_] == ["r1", "r2"]
    assert revisions.to_forget(deployment(), old) == []
