"""Deployments, ReplicaSets and DaemonSets against the real API server and scheduler."""

import asyncio
from typing import Any

from clew.api.conditions import condition, is_true
from clew.api.kinds import CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, EVENT, POD, REPLICA_SET
from clew.api.objects import Object, annotations, dig, is_deleting, labels, name_of


def deployment(name: str, replicas: int, image: str = "nginx", **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"run": name}},
            "template": {"metadata": {"labels": {"run": name}},
                         "spec": {"containers": [{"name": "c", "image": image}]}}, **spec,
        },
    }  # fmt: skip


def live(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if not is_deleting(pod)]


async def rolled_out(plane: Any, name: str, replicas: int) -> Object:
    """What `kubectl rollout status` waits for."""

    async def look() -> Any:
        found = await plane.admin.get(DEPLOYMENT, name, "default")
        status = found.get("status") or {}
        counts = [status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas")]
        done = counts == [replicas] * 3 and status.get("observedGeneration") == found["metadata"]["generation"]
        return found if done else None

    return dict(await plane.until(look))


async def test_a_deployment_comes_up_spread_over_the_nodes(plane: Any) -> None:
    for number in (1, 2, 3):
        await plane.add_node(f"node-{number}")
    await plane.admin.create(DEPLOYMENT, deployment("web", 6))
    found = await rolled_out(plane, "web", 6)
    assert is_true(found, "Available")
    assert (condition(found, "Progressing") or {})["reason"] == "NewReplicaSetAvailable"
    assert annotations(found)["deployment.kubernetes.io/revision"] == "1"
    pods = (await plane.admin.list(POD, "default")).items
    nodes = [pod["spec"]["nodeName"] for pod in pods]
    assert sorted(nodes.count(f"node-{number}") for number in (1, 2, 3)) == [2, 2, 2]
    (replica_set,) = (await plane.admin.list(REPLICA_SET, "default")).items
    assert all(pod["metadata"]["name"].startswith(f"{name_of(replica_set)}-") for pod in pods)

    def told(events: list[Object]) -> bool:
        reasons = {event["reason"] for event in events}
        return {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled"} <= reasons

    events = await plane.until_list(EVENT, "default", told)
    assert any(event["message"].startswith("Successfully assigned default/web-") for event in events)


async def test_a_rollout_keeps_its_limits_and_can_be_undone(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, deployment("web", 4))
    await rolled_out(plane, "web", 4)
    over: list[int] = []

    def watch(_: Object | None, __: Object | None) -> None:
        over.append(sum(1 for pod in plane.kubelets.pods.items() if not is_deleting(pod)))

    plane.kubelets.pods.subscribe(watch)
    image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
    before = await plane.admin.get(DEPLOYMENT, "web", "default")
    await plane.admin.patch(DEPLOYMENT, "web", image, "default")
    found = await rolled_out(plane, "web", 4)
    assert annotations(found)["deployment.kubernetes.io/revision"] == "2"
    assert max(over) <= 5  # 25 % of 4 more than wanted
    # What `kubectl rollout undo` does: the older ReplicaSet's template back into the Deployment.
    undo = {"spec": {"template": before["spec"]["template"]}}
    await plane.admin.patch(DEPLOYMENT, "web", undo, "default")
    found = await rolled_out(plane, "web", 4)
    assert annotations(found)["deployment.kubernetes.io/revision"] == "3"
    sets = (await plane.admin.list(REPLICA_SET, "default")).items
    assert len(sets) == 2
    assert sorted(annotations(each)["deployment.kubernetes.io/revision"] for each in sets) == ["2", "3"]


async def test_recreate_waits_until_all_old_pods_are_gone(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, deployment("web", 3, strategy={"type": "Recreate"}))
    await rolled_out(plane, "web", 3)
    mixed: list[set[str]] = []

    def watch(_: Object | None, __: Object | None) -> None:
        mixed.append({pod["spec"]["containers"][0]["image"] for pod in plane.kubelets.pods.items()})

    plane.kubelets.pods.subscribe(watch)
    image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
    await plane.admin.patch(DEPLOYMENT, "web", image, "default")
    await rolled_out(plane, "web", 3)
    assert all(len(images) <= 1 for images in mixed)


async def test_pause_and_scale(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, deployment("web", 2))
    await rolled_out(plane, "web", 2)
    await plane.admin.patch(DEPLOYMENT, "web", {"spec": {"paused": True}}, "default")
    image = {"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
    await plane.admin.patch(DEPLOYMENT, "web", image, "default")
    pods = await plane.until_list(POD, "default", lambda found: len(live(found)) == 3)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"nginx"}
    await plane.admin.patch(DEPLOYMENT, "web", {"spec": {"paused": False}}, "default")
    await rolled_out(plane, "web", 3)
    pods = await plane.until_list(POD, "default", lambda found: len(found) == 3)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"nginx:2"}


async def test_deleting_a_deployment_takes_all_that_it_owns(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, deployment("web", 3))
    await rolled_out(plane, "web", 3)
    await plane.admin.delete(DEPLOYMENT, "web", "default")
    await plane.until_list(REPLICA_SET, "default", lambda found: not found)
    await plane.until_list(POD, "default", lambda found: not found)


async def test_orphans_are_left_and_adopted_again(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, deployment("web", 2))
    await rolled_out(plane, "web", 2)
    before = {name_of(pod) for pod in (await plane.admin.list(POD, "default")).items}
    await plane.admin.delete(DEPLOYMENT, "web", "default", propagation="Orphan")
    await plane.until_list(DEPLOYMENT, "default", lambda found: not found)
    sets = (await plane.admin.list(REPLICA_SET, "default")).items
    assert not sets[0]["metadata"].get("ownerReferences")
    await plane.admin.create(DEPLOYMENT, deployment("web", 2))
    await rolled_out(plane, "web", 2)
    again = (await plane.admin.list(REPLICA_SET, "default")).items
    assert [name_of(each) for each in again] == [name_of(each) for each in sets]
    assert {name_of(pod) for pod in (await plane.admin.list(POD, "default")).items} == before


async def test_a_foreground_deletion_ends_when_the_dependents_are_gone(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.admin.create(DEPLOYMENT, deployment("web", 2))
    await rolled_out(plane, "web", 2)
    await plane.admin.delete(DEPLOYMENT, "web", "default", propagation="Foreground")
    await plane.until_list(DEPLOYMENT, "default", lambda found: not found)
    assert not (await plane.admin.list(POD, "default")).items


async def test_a_daemon_runs_on_every_node_and_can_be_rolled_back(plane: Any) -> None:
    await plane.add_node("node-1")
    await plane.add_node("node-2", unschedulable=True)
    daemon = deployment("agent", 0)
    daemon["kind"] = "DaemonSet"
    del daemon["spec"]["replicas"]
    await plane.admin.create(DAEMON_SET, daemon)

    async def ready(nodes: int) -> Any:
        found = await plane.admin.get(DAEMON_SET, "agent", "default")
        status = found.get("status") or {}
        counts = [
            status.get(field) for field in ("desiredNumberScheduled", "numberAvailable", "updatedNumberScheduled")
        ]
        return (
            found if counts == [nodes] * 3 and status["observedGeneration"] == found["metadata"]["generation"] else None
        )

    first = await plane.until(lambda: ready(2))
    await plane.add_node("node-3")
    await plane.until(lambda: ready(3))
    pods = (await plane.admin.list(POD, "default")).items
    assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["node-1", "node-2", "node-3"]
    image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
    await plane.admin.patch(DAEMON_SET, "agent", image, "default")
    await plane.until(lambda: ready(3))
    history = (await plane.admin.list(CONTROLLER_REVISION, "default")).items
    assert sorted(each["revision"] for each in history) == [1, 2]
    await plane.admin.patch(DAEMON_SET, "agent", {"spec": {"template": first["spec"]["template"]}}, "default")
    await plane.until(lambda: ready(3))
    history = (await plane.admin.list(CONTROLLER_REVISION, "default")).items
    assert sorted(each["revision"] for each in history) == [2, 3]
    pods = live((await plane.admin.list(POD, "default")).items)
    newest = max(history, key=lambda each: int(each["revision"]))
    assert {labels(pod)["controller-revision-hash"] for pod in pods} == {labels(newest)["controller-revision-hash"]}


async def test_two_hundred_pods_are_neither_too_many_nor_slow(plane: Any) -> None:
    for number in (1, 2, 3):
        await plane.add_node(f"node-{number}")
    loop = asyncio.get_running_loop()
    start = loop.time()
    await plane.admin.create(DEPLOYMENT, deployment("many", 200))
    await plane.until_list(POD, "default", lambda found: sum(1 for pod in found if dig(pod, "spec", "nodeName")) == 200)
    assert loop.time() - start < 15
    await rolled_out(plane, "many", 200)
    assert len((await plane.admin.list(POD, "default")).items) == 200
