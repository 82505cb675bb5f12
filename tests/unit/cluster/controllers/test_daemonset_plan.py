from datetime import UTC, datetime
from typing import Any

from clew.api.objects import Object, name_of
from clew.cluster.controllers.daemonset.placement import HASH_LABEL, belongs, node_of, pod_for, tolerant
from clew.cluster.controllers.daemonset.plan import Plan, Scene, by_node, plan, status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def node(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "labels": {"os": "linux"}}, "spec": spec}


def pod(name: str, where: str, version: str = "v1", *, ready: bool = True, **more: Any) -> Object:
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2025-12-31T00:00:00Z"}]
    meta = {"namespace": "d", "name": name, "uid": name, "labels": {HASH_LABEL: version}} | more.pop("meta", {})
    return {
        "metadata": meta,
        "spec": {"nodeName": where},
        "status": {"phase": "Running", "conditions": conditions} | more,
    }


def daemon(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec.pop("template", {})}
    return {
        "metadata": {"namespace": "d", "name": "ds", "uid": "u", "generation": 2},
        "spec": {"template": template} | spec,
    }


def scene(daemon_set: Object, nodes: list[Object], *pods: Object, version: str = "v1") -> Scene:
    return Scene(daemon_set, nodes, by_node(pods), version, NOW)


def summary(found: Plan) -> tuple[list[str], list[str]]:
    return sorted(found.create), sorted(name_of(pod) for pod in found.delete)


THREE = [node("n1"), node("n2"), node("n3")]


def test_a_pod_on_every_node() -> None:
    assert summary(plan(scene(daemon(), THREE, pod("a", "n1")))) == (["n2", "n3"], [])


def test_where_it_belongs() -> None:
    spec = tolerant({"nodeSelector": {"os": "linux"}})
    assert belongs(spec, node("n")) == (True, True)
    assert belongs({"nodeSelector": {"os": "windows"}}, node("n")) == (False, False)
    foreign = {"key": "x", "effect": "NoSchedule"}
    assert belongs(spec, node("n", taints=[foreign])) == (False, True)
    assert belongs(spec, node("n", taints=[{**foreign, "effect": "NoExecute"}])) == (False, False)
    trouble = [
        {"key": f"node.kubernetes.io/{key}", "effect": "NoSchedule"} for key in ("unschedulable", "disk-pressure")
    ]
    assert belongs(spec, node("n", taints=trouble)) == (True, True)
    network = [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]
    assert belongs(spec, node("n", taints=network)) == (False, True)
    assert belongs(tolerant({"hostNetwork": True}), node("n", taints=network)) == (True, True)


def test_a_node_that_does_not_fit_any_more_loses_its_pod() -> None:
    wanting = daemon(template={"nodeSelector": {"os": "windows"}})
    assert summary(plan(scene(wanting, THREE, pod("a", "n1")))) == ([], ["a"])


def test_of_two_on_a_node_the_younger_goes() -> None:
    old = pod("old", "n1", meta={"creationTimestamp": "2025-01-01T00:00:00Z"})
    young = pod("young", "n1", meta={"creationTimestamp": "2025-06-01T00:00:00Z"})
    assert summary(plan(scene(daemon(), THREE[:1], young, old))) == ([], ["young"])


def test_a_failed_pod_is_replaced() -> None:
    found = plan(scene(daemon(), THREE[:1], pod("a", "n1", phase="Failed")))
    assert summary(found) == ([], ["a"])
    assert [name_of(each) for each in found.failed] == ["a"]


def test_an_update_goes_one_node_at_a_time_and_broken_ones_first() -> None:
    pods = [pod("a", "n1"), pod("b", "n2"), pod("c", "n3")]
    assert summary(plan(scene(daemon(), THREE, *pods, version="v2"))) == ([], ["a"])
    broken = [pod("a", "n1"), pod("b", "n2", ready=False), pod("c", "n3")]
    assert summary(plan(scene(daemon(), THREE, *broken, version="v2"))) == ([], ["b"])
    under_way = [pod("a", "n1", "v2", ready=False), pod("b", "n2"), pod("c", "n3")]
    assert summary(plan(scene(daemon(), THREE, *under_way, version="v2"))) == ([], [])
    two = daemon(updateStrategy={"rollingUpdate": {"maxUnavailable": "50%"}})
    assert len(plan(scene(two, THREE, *pods, version="v2")).delete) == 2


def test_on_delete_waits_for_the_user() -> None:
    waits = daemon(updateStrategy={"type": "OnDelete"})
    assert summary(plan(scene(waits, THREE, *(pod(n, n) for n in ("n1", "n2", "n3")), version="v2"))) == ([], [])


def test_surge_makes_the_new_one_first() -> None:
    surging = daemon(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    pods = [pod("a", "n1"), pod("b", "n2"), pod("c", "n3")]
    assert summary(plan(scene(surging, THREE, *pods, version="v2"))) == (["n1"], [])
    beside = pod("a2", "n1", "v2", ready=False)
    assert summary(plan(scene(surging, THREE, *pods, beside, version="v2"))) == ([], [])
    beside = pod("a2", "n1", "v2")
    assert summary(plan(scene(surging, THREE, *pods, beside, version="v2"))) == ([], ["a"])


def test_a_pod_is_meant_for_its_node_before_it_is_bound() -> None:
    made = pod_for(daemon(template={"containers": []}), "n2", "v1", 3)
    assert node_of(made) == "n2"
    assert made["metadata"]["labels"] == {"a": "b", HASH_LABEL: "v1", "pod-template-generation": "3"}
    assert len(made["spec"]["tolerations"]) == 6


def test_pods_meant_for_a_node_that_is_gone_go() -> None:
    made = pod_for(daemon(), "n9", "v1", 1)
    made["metadata"]["name"] = "left"
    assert summary(plan(scene(daemon(), THREE[:1], pod("a", "n1"), made))) == ([], ["left"])


def test_status() -> None:
    tainted = node("n3", taints=[{"key": "x", "effect": "NoSchedule"}])
    pods = [pod("a", "n1", "v2"), pod("b", "n2", ready=False), pod("c", "n3")]
    assert status(scene(daemon(), [*THREE[:2], tainted], *pods, version="v2")) == {
        "currentNumberScheduled": 2, "numberMisscheduled": 1, "desiredNumberScheduled": 2, "numberReady": 1,
        "updatedNumberScheduled": 1, "numberAvailable": 1, "numberUnavailable": 1, "observedGeneration": 2,
    }  # fmt: skip
