from datetime import UTC, datetime
from typing import Any

import pytest

from clew.api.kinds import POD
from clew.cluster.tables import table

NOW = datetime(2026, 1, 2, 0, 10, 0, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-01-02T00:00:00Z"}}


def main(state: dict, **more: Any) -> dict:
    return {"name": "a", "ready": "running" in state, "restartCount": 0, "state": state, **more}


def pod(status: dict, *, inits: int = 0, sidecar: bool = False, **meta: str) -> dict:
    spec: dict[str, Any] = {"containers": [{"name": "a"}]}
    if inits:
        spec["initContainers"] = [{"name": f"i{index}"} for index in range(inits)]
    if sidecar:
        spec["initContainers"] = [{"name": "i0", "restartPolicy": "Always"}]
    created = {"name": "p", "creationTimestamp": "2026-01-02T00:00:00Z"}
    return {"metadata": {**created, **meta}, "spec": spec, "status": status}


def ended(reason: str = "", code: int = 0, signal: int = 0) -> dict:
    return {"terminated": {"reason": reason, "exitCode": code, "signal": signal, "finishedAt": "2026-01-02T00:09:55Z"}}


def init(state: dict, index: int = 0, **more: Any) -> dict:
    return {"name": f"i{index}", "restartCount": 0, "state": state, **more}


DELETED = "2026-01-02T00:09:00Z"


@pytest.mark.parametrize(
    ("obj", "ready", "status"),
    [
        (pod({"phase": "Pending"}), "0/1", "Pending"),
        (pod({"phase": "Running", "containerStatuses": [main(RUNNING)]}), "1/1", "Running"),
        (
            pod({"phase": "Running", "containerStatuses": [main({"waiting": {"reason": "CrashLoopBackOff"}})]}),
            "0/1", "CrashLoopBackOff",
        ),
        (
            pod({"phase": "Pending", "containerStatuses": [main({"waiting": {"reason": "ErrImagePull"}})]}),
            "0/1", "ErrImagePull",
        ),
        (pod({"phase": "Succeeded", "containerStatuses": [main(ended("Completed"))]}), "0/1", "Completed"),
        (pod({"phase": "Failed", "containerStatuses": [main(ended("", 3))]}), "0/1", "ExitCode:3"),
        (pod({"phase": "Failed", "containerStatuses": [main(ended("", 137, 9))]}), "0/1", "Signal:9"),
        (pod({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted"),
        (pod({"phase": "Running", "containerStatuses": [main(RUNNING)]}, deletionTimestamp=DELETED), "1/1",
         "Terminating"),
        (
            pod({"phase": "Running", "reason": "NodeLost"}, deletionTimestamp=DELETED), "0/1", "Unknown",
        ),
        (
            pod({"phase": "Succeeded", "containerStatuses": [main(ended("Completed"))]}, deletionTimestamp=DELETED),
            "0/1", "Completed",
        ),
        (
            pod({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
             "reason": "SchedulingGated"}]}),
            "0/1", "SchedulingGated",
        ),
        (
            pod({"phase": "Pending",
             "initContainerStatuses": [init({"waiting": {"reason": "PodInitializing"}})]}, inits=1),
            "0/1", "Init:0/1",
        ),
        (
            pod({"phase": "Pending", "initContainerStatuses": [init(ended("Completed")), init(RUNNING, 1)]}, inits=2),
            "0/1", "Init:1/2",
        ),
        (
            pod({"phase": "Pending",
             "initContainerStatuses": [init({"waiting": {"reason": "ImagePullBackOff"}})]}, inits=1),
            "0/1", "Init:ImagePullBackOff",
        ),
        (pod({"phase": "Pending", "initContainerStatuses": [init(ended("Error", 1))]}, inits=1), "0/1", "Init:Error"),
        (pod({"phase": "Pending", "initContainerStatuses": [init(ended("", 2))]}, inits=1), "0/1", "Init:ExitCode:2"),
        (
            pod({"phase": "Running", "initContainerStatuses": [init(RUNNING, started=True, ready=True)],
                 "containerStatuses": [main(RUNNING)]}, sidecar=True),
            "2/2", "Running",
        ),
    ],
)  # fmt: skip
def test_ready_and_status(obj: dict, ready: str, status: str) -> None:
    cells = table(POD, [obj], "None", NOW)["rows"][0]["cells"]
    assert cells[1:3] == [ready, status]


def test_one_of_two_containers_is_done() -> None:
    statuses = [main(ended("Completed")), {**main(RUNNING), "name": "b"}]
    status = {"phase": "Running", "containerStatuses": statuses}
    assert table(POD, [pod(status)], "None", NOW)["rows"][0]["cells"][2] == "NotReady"
    status["conditions"] = [{"type": "Ready", "status": "True"}]
    assert table(POD, [pod(status)], "None", NOW)["rows"][0]["cells"][2] == "Running"


def test_restarts_say_how_long_ago_the_last_was() -> None:
    again = main(RUNNING, restartCount=2, lastState=ended("Error", 1))
    assert table(POD, [pod({"containerStatuses": [again]})], "None", NOW)["rows"][0]["cells"][3] == "2 (5s ago)"
    plain = main(RUNNING, restartCount=1)
    assert table(POD, [pod({"containerStatuses": [plain]})], "None", NOW)["rows"][0]["cells"][3] == "1"
    early = init({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=3)
    shown = table(POD, [pod({"initContainerStatuses": [early]}, inits=1)], "None", NOW)
    assert shown["rows"][0]["cells"][3] == "3"


def test_the_wide_columns() -> None:
    obj = pod({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}], "conditions": [{"type": "a/b", "status": "True"}]})
    obj["spec"] |= {"nodeName": "n", "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "c/d"}]}
    shown = table(POD, [obj, pod({})], "None", NOW)
    assert shown["rows"][0]["cells"][4:] == ["10m", "10.0.0.1", "n", "<none>", "1/2"]
    assert shown["rows"][1]["cells"][4:] == ["10m", "<none>", "<none>", "<none>", "<none>"]
    assert [each["priority"] for each in shown["columnDefinitions"]] == [0, 0, 0, 0, 0, 1, 1, 1, 1]
