from datetime import UTC, datetime, timedelta
from typing import Any

from clew.api.objects import Object, name_of
from clew.base.clock import rfc3339
from clew.cluster.controllers.replicaset.plan import available_soon, least_missed, plan, status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str, node: str = "n1", ready: float | None = 100, phase: str = "Running", **more: Any) -> Object:
    conditions = []
    if ready is not None:
        since = rfc3339(NOW - timedelta(seconds=ready))
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    age = more.pop("age", 100)
    meta = {
        "name": name, "namespace": "d", "uid": name, "labels": {"a": "b"},
        "creationTimestamp": rfc3339(NOW - timedelta(seconds=age)),
    }  # fmt: skip
    return {
        "metadata": meta | more.pop("meta", {}), "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions, **more},
    }  # fmt: skip


def replica_set(replicas: int, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}}
    return {"metadata": {"generation": 3}, "spec": {"replicas": replicas, "template": template, **spec}}


def names(pods: list[Object] | tuple[Object, ...]) -> list[str]:
    return [name_of(each) for each in pods]


def test_what_is_missing_is_made() -> None:
    deleting = pod("c", meta={"deletionTimestamp": "x"})
    assert plan(replica_set(3), [pod("a"), pod("b", phase="Failed"), deleting], [], NOW).create == 2


def test_a_set_that_is_going_does_nothing() -> None:
    going = replica_set(3)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert plan(going, [], [], NOW).create == 0


def test_who_goes_first() -> None:
    pods = [
        pod("veteran", ready=5000, age=5000),
        pod("fresh", ready=10, age=5000),
        pod("young", ready=5000, age=10),
        pod("restarted", ready=5000, age=5000, containerStatuses=[{"restartCount": 3}]),
        pod("cheap", ready=5000, age=5000, meta={
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}),
        pod("unready", ready=None),
        pod("pending", ready=None, phase="Pending"),
        pod("unassigned", node="", ready=None, phase="Pending"),
    ]  # fmt: skip
    order = names(least_missed(pods, [], NOW))
    assert order == ["unassigned", "pending", "unready", "cheap", "fresh", "restarted", "young", "veteran"]


def test_two_on_a_node_are_one_too_many() -> None:
    pods = [pod("a", "n1"), pod("b", "n2"), pod("c", "n2")]
    assert names(plan(replica_set(2), pods, pods, NOW).delete)[0] in {"b", "c"}


def test_status_counts() -> None:
    odd = pod("odd", meta={"labels": {}})
    pods = [pod("a"), pod("b", ready=None), pod("c", ready=3), odd, pod("d", phase="Failed")]
    found = status(replica_set(4, minReadySeconds=10), pods, "", NOW)
    assert found == {
        "replicas": 4, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 2,
        "terminatingReplicas": 0, "observedGeneration": 3,
    }  # fmt: skip
    assert available_soon(replica_set(4, minReadySeconds=10), pods, NOW) == 7


def test_a_failure_is_a_condition_until_it_is_over() -> None:
    failed = status(replica_set(2), [], "quota", NOW)
    assert failed["conditions"][0]["reason"] == "FailedCreate"
    over = replica_set(1) | {"status": failed}
    assert "conditions" not in status(over, [pod("a")], "", NOW)
