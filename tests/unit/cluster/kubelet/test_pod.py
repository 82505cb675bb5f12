"""A pod's life on a node: restarts, waits, probes, hooks and the end, each second of it in no time."""

from itertools import pairwise
from typing import Any

import pytest

from clew.cluster.images import ImageError
from clew.cluster.kubelet.service_links import Link

from .conftest import World, in_no_time, pod

FAILS = ["sh", "-c", "exit 3"]
ENDS = ["sh", "-c", "exit 0"]
OBEYS = ["sh", "-c", "trap 'exit 0' TERM"]
STAYS = ["sleep", "99999"]


def container(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": command, **more}


@in_no_time
async def test_a_pod_runs_and_says_so(world: World) -> None:
    world.start(pod(STAYS))
    await world.until(world.running)
    status = world.status()
    assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.244.0.7", "172.30.0.11")
    assert {each["type"]: each["status"] for each in status["conditions"]} == dict.fromkeys(
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"], "True"
    )
    assert world.events.reasons() == ["Pulling", "Pulled", "Created", "Started"]
    assert {part for _, part in world.events.parts} == {"spec.containers{a}"}


@in_no_time
async def test_pauses_between_restarts_double_and_start_at_ten_seconds(world: World) -> None:
    world.start(pod(FAILS))
    starts = []
    for count in range(1, 6):
        await world.until(lambda count=count: world.events.reasons().count("Started") >= count)  # type: ignore[misc]
        starts.append(world.clock.monotonic())
    pauses = [round(later - earlier) for earlier, later in pairwise(starts)]
    assert pauses == [0, 10, 20, 40]  # the first restart is at once
    await world.until(lambda: world.container()["state"].get("waiting"))
    waiting = world.container()["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"] == "back-off 1m20s restarting failed container=a pod=p_default(uid-p)"


@pytest.mark.parametrize(
    ("policy", "command", "phase", "restarts"),
    [
        ("Never", FAILS, "Failed", 0), ("Never", ENDS, "Succeeded", 0), ("OnFailure", ENDS, "Succeeded", 0),
        ("OnFailure", FAILS, "Running", 2), ("Always", ENDS, "Running", 2),
    ],
)  # fmt: skip
@in_no_time
async def test_policies(world: World, policy: str, command: list[str], phase: str, restarts: int) -> None:
    world.start(pod(command, restartPolicy=policy))
    await world.until(lambda: world.container()["restartCount"] >= restarts and world.status().get("phase") == phase)
    if not restarts:
        await world.until(lambda: world.listed()["sandboxes"] == [])  # what has ended gives its address back
        assert world.container()["state"]["terminated"]["exitCode"] == int(command[-1].split()[1])


@pytest.mark.parametrize("looks", [0.5, 1.5, 2.5, 3.5])
@in_no_time
async def test_a_pause_that_the_timer_cuts_short_by_a_hair_is_not_forgotten(world: World, looks: float) -> None:
    """The worker slept until a moment before its pause was over, saw that, and by the next look it was: it slept on."""
    world.clock.step = 1e-5
    world.clock.slow = looks * world.clock.step / 10  # after the longest pause it is so many looks too early
    world.node.refuse["sandbox_create"] = "no"
    world.start(pod(STAYS))
    for failures in range(1, 10):
        await world.until(lambda failures=failures: world.events.reasons().count("FailedCreatePodSandBox") >= failures)  # type: ignore[misc]
    del world.node.refuse["sandbox_create"]
    await world.until(world.running)


@in_no_time
async def test_a_failed_network_is_undone_and_tried_again(world: World) -> None:
    answered = world.node.programs

    def refuse(env: dict[str, str]) -> dict[str, Any]:
        if env["CNI_COMMAND"] == "ADD":
            return {**answered(env), "code": 1, "stdout": '{"code": 11, "msg": "later"}'}
        return answered(env)

    world.node.programs = refuse
    world.start(pod(STAYS))
    await world.until(lambda: world.events.reasons().count("FailedCreatePodSandBox") == 3)
    text = dict(world.events.told)["FailedCreatePodSandBox"]
    assert 'plugin type="clew-cni" failed (add): later' in text
    assert world.status()["phase"] == "Pending"
    world.node.programs = answered
    await world.until(world.running)
    assert len(world.listed()["sandboxes"]) == 1  # none of those that failed is left


@in_no_time
async def test_a_lost_sandbox_takes_all_containers_along(world: World) -> None:
    world.start(pod(STAYS, STAYS))
    await world.until(lambda: world.running() and world.running(index=1))
    first = world.listed()["sandboxes"][0]["id"]
    world.node.lose_pause(first)
    await world.until(lambda: world.container()["restartCount"] == world.container(index=1)["restartCount"] == 1)
    await world.until(lambda: world.running() and world.running(index=1))
    assert [each["id"] for each in world.listed()["sandboxes"]] != [first]
    assert "SandboxChanged" in world.events.reasons()


@in_no_time
async def test_init_containers_run_in_order_and_a_sidecar_starts_before_the_next(world: World) -> None:
    inits = [container("one", ENDS), container("side", OBEYS, restartPolicy="Always"), container("two", FAILS)]
    world.start(pod(STAYS, initContainers=inits))
    await world.until(lambda: world.container(index=2, field="initContainerStatuses")["restartCount"] == 1)
    assert world.running(index=1, field="initContainerStatuses")
    assert world.container()["state"]["waiting"] == {"reason": "PodInitializing"}
    started = [part for reason, part in world.events.parts if reason == "Started"]
    assert started[:3] == [f"spec.initContainers{{{name}}}" for name in ("one", "side", "two")]
    condition = next(each for each in world.status()["conditions"] if each["type"] == "Initialized")
    assert condition["message"] == "containers with incomplete status: [two]"


@in_no_time
async def test_sidecars_end_last_in_reverse_order(world: World) -> None:
    inits = [container(name, OBEYS, restartPolicy="Always") for name in ("first", "second")]
    worker = world.start(pod(OBEYS, initContainers=inits))
    await world.until(world.running)
    order: list[str] = []
    world.node.listen(lambda event: order.append(event["record"]["labels"].get("container", "")))
    world.api.change("p", metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 30})
    await world.until(lambda: worker.gone)
    assert order == ["a", "second", "first"]
    assert world.listed() == {"sandboxes": [], "containers": []}
    assert world.node.files == {}


@in_no_time
async def test_a_pod_that_is_held_by_a_finalizer_ends_in_a_last_phase(world: World) -> None:
    world.api.held = True
    world.start(pod(STAYS))
    await world.until(world.running)
    world.api.change("p", metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 1})
    await world.until(lambda: world.listed() == {"sandboxes": [], "containers": []})
    assert world.status()["phase"] == "Failed"
    assert world.container()["state"]["terminated"]["exitCode"] == 137
    ready = next(each for each in world.status()["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodFailed")


@in_no_time
async def test_grace_is_kept_and_then_over(world: World) -> None:
    worker = world.start(pod(STAYS, terminationGracePeriodSeconds=20))
    await world.until(world.running)
    begun = world.clock.monotonic()
    world.api.change("p", metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 20})
    await world.until(lambda: worker.gone)
    assert 20 <= world.clock.monotonic() - begun < 21
    assert ("Killing", "Stopping container a") in world.events.told


@in_no_time
async def test_a_shorter_grace_overtakes_a_longer_one(world: World) -> None:
    worker = world.start(pod(STAYS))
    await world.until(world.running)
    world.api.change("p", metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 300})
    await world.until(lambda: "kill" in world.node.calls)
    begun = world.clock.monotonic()
    world.api.change("p", metadata={"deletionGracePeriodSeconds": 2})
    await world.until(lambda: worker.gone)
    assert world.clock.monotonic() - begun < 4


@pytest.mark.parametrize("output", ["", "not well"])
@in_no_time
async def test_a_probe_that_fails_counts_whether_it_says_why_or_not(world: World, output: str) -> None:
    """An exec probe that failed without a word was taken for a success."""
    probe = {"exec": {"command": ["test", "-e", "/ok"]}, "periodSeconds": 1, "failureThreshold": 2}
    world.start(pod(container("a", STAYS, readinessProbe=probe)))
    await world.until(lambda: world.container().get("ready"))
    world.node.execs = lambda _: (1, output)
    await world.until(lambda: not world.container().get("ready"))
    assert ("Unhealthy", f"Readiness probe failed: {output}") in world.events.told
    world.node.execs = lambda _: (0, "")
    await world.until(lambda: world.container().get("ready"))
    assert world.container()["restartCount"] == 0


@in_no_time
async def test_liveness_kills_after_its_threshold_and_startup_holds_it_back(world: World) -> None:
    alive = {"exec": {"command": ["alive"]}, "periodSeconds": 1, "failureThreshold": 3}
    started = {"exec": {"command": ["started"]}, "periodSeconds": 1, "failureThreshold": 50}
    world.node.execs = lambda argv: (1, "no") if world.clock.monotonic() < 20 or argv == ["alive"] else (0, "")
    world.start(pod(container("a", OBEYS, livenessProbe=alive, startupProbe=started)))
    await world.until(lambda: world.clock.monotonic() >= 19.5)
    assert not [message for _, message in world.events.told if message.startswith("Liveness")]
    await world.until(lambda: world.container().get("started"))
    assert 20 <= world.clock.monotonic() < 22
    await world.until(lambda: world.container()["restartCount"] == 1)
    assert 22 <= world.clock.monotonic() < 27
    assert ("Killing", "Container a failed liveness probe, will be restarted") in world.events.told


@in_no_time
async def test_hooks_run_and_a_failed_post_start_ends_the_container(world: World) -> None:
    ran: list[str] = []

    def execute(argv: list[str]) -> tuple[int, str]:
        ran.append(argv[0])
        return (1, "bad") if argv[0] == "fail" else (0, "")

    world.node.execs = execute
    hooks = {"postStart": {"exec": {"command": ["begin"]}}, "preStop": {"exec": {"command": ["stop"]}}}
    worker = world.start(pod(container("a", OBEYS, lifecycle=hooks)))
    await world.until(world.running)
    world.api.change("p", metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 30})
    await world.until(lambda: worker.gone)
    assert ran == ["begin", "stop"]
    world.start(pod(container("a", OBEYS, lifecycle={"postStart": {"exec": {"command": ["fail"]}}}), name="q"))
    await world.until(lambda: world.container("q")["restartCount"] == 1)
    assert ("FailedPostStartHook", "PostStartHook failed: command 'fail' exited with 1: bad") in world.events.told


@in_no_time
async def test_what_others_say_in_the_status_is_heard_and_what_is_ours_restored(world: World) -> None:
    """The kubelet believed what it had written itself, so that a readiness gate set later was never seen."""
    world.start(pod(STAYS, readinessGates=[{"conditionType": "example.com/ok"}]))
    await world.until(world.running)
    ready = next(each for each in world.status()["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    world.api.change("p", status={"conditions": [{"type": "example.com/ok", "status": "True"}], "podIP": "1.2.3.4"})
    await world.until(lambda: len(world.status()["conditions"]) == 6)
    assert {each["status"] for each in world.status()["conditions"]} == {"True"}
    assert world.status()["podIP"] == "10.244.0.7"


@in_no_time
async def test_nothing_is_written_when_nothing_changes(world: World) -> None:
    world.start(pod(STAYS))
    await world.until(world.running)
    await world.until(lambda: world.clock.monotonic() > 5)
    before = world.api.writes
    world.api.change("p", metadata={"annotations": {"a": "b"}})
    await world.until(lambda: world.clock.monotonic() > 500)
    assert world.api.writes == before


@in_no_time
async def test_the_daemon_comes_back_and_touches_nothing_that_runs(world: World) -> None:
    world.start(pod(STAYS, FAILS))
    await world.until(lambda: world.running() and world.container(index=1)["restartCount"] == 2)
    identity = world.container()["containerID"]
    await world.crash("p")
    before = list(world.node.calls)
    world.start(pod())
    await world.until(lambda: world.container(index=1)["restartCount"] == 3)
    assert world.container()["containerID"] == identity
    assert world.node.calls[len(before) :].count("sandbox_create") == 0
    assert world.container()["restartCount"] == 0


@in_no_time
async def test_what_ended_while_nobody_looked_is_told_with_its_code(world: World) -> None:
    world.start(pod(STAYS, restartPolicy="Never"))
    await world.until(world.running)
    await world.crash("p")
    world.node.end(world.listed()["containers"][0]["id"], 9)
    world.start(pod())
    await world.until(lambda: world.status()["phase"] == "Failed")
    assert world.container()["state"]["terminated"]["exitCode"] == 9


@in_no_time
async def test_an_image_that_cannot_be_had_is_asked_for_less_and_less_often(world: World) -> None:
    world.images.missing["busybox"] = ImageError("ErrImagePull", "no registry")
    world.start(pod(STAYS))
    await world.until(lambda: (world.container()["state"].get("waiting") or {}).get("reason") == "ImagePullBackOff")
    assert world.container()["state"]["waiting"]["message"] == (
        'Back-off pulling image "busybox": ErrImagePull: no registry'
    )
    await world.until(lambda: world.clock.monotonic() > 305)
    assert world.events.reasons().count("Pulling") == 5  # at 0, 10, 30, 70 and 150; then at 310
    world.images.missing.clear()
    await world.until(world.running)


@in_no_time
async def test_a_missing_config_map_is_waited_for(world: World) -> None:
    variable = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}
    world.start(pod(container("a", STAYS, env=[variable])))
    await world.until(
        lambda: "waiting" in world.container()["state"] and world.container()["state"]["waiting"].get("message")
    )
    waiting = world.container()["state"]["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("CreateContainerConfigError", 'configmap "later" not found')
    world.api.objects["ConfigMap", "later"] = {"data": {"a": "1"}}
    await world.until(world.running, 10)


@in_no_time
async def test_a_deadline_ends_the_pod(world: World) -> None:
    world.start(pod(STAYS, activeDeadlineSeconds=60, terminationGracePeriodSeconds=1))
    await world.until(lambda: world.status().get("phase") == "Failed")
    assert world.status()["reason"] == "DeadlineExceeded"
    assert 60 <= world.clock.monotonic() < 65
    await world.until(lambda: world.container()["state"].get("terminated"))


@in_no_time
async def test_no_container_starts_before_the_services_are_known(world: World) -> None:
    """A daemon that came back started what was due at once, without the variables of the Services."""
    world.around.services.known.clear()
    world.start(pod(STAYS))
    await world.until(lambda: world.clock.monotonic() > 5)
    assert "run" not in world.node.calls
    world.around.services.replace({("default", "db"): Link("db", "10.96.0.5", (("", 80, "TCP"),))})
    await world.until(world.running)


@in_no_time
async def test_health_ends_nothing_sooner_while_the_pod_ends(world: World) -> None:
    probe = {
        "exec": {"command": ["alive"]}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1,
    }  # fmt: skip
    worker = world.start(pod(container("a", STAYS, livenessProbe=probe)))
    await world.until(world.running)
    world.api.change("p", metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 20})
    await world.until(lambda: "kill" in world.node.calls)
    world.node.execs = lambda _: (1, "no")
    begun = world.clock.monotonic()
    await world.until(lambda: worker.gone)
    assert world.clock.monotonic() - begun > 19
