"""A pod's status from what its containers are doing. Pure: records in, the status out."""

from datetime import UTC, datetime
from typing import Any

from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.base.value import Value
from clew.cluster.admission import qos_class


class ContainerState(Value):
    """One container as the kubelet sees it; `current` and `last` are the supervisor's records."""

    name: str
    image: str
    current: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    restarts: int = 0
    waiting: str = ""  # reason, while nothing runs
    message: str = ""
    ready: bool = False
    started: bool = False
    image_id: str = ""


def stamp(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def terminated(record: dict[str, Any]) -> Object:
    """state.terminated of an ended container."""
    code = record.get("code", 0)
    reason = "OOMKilled" if record.get("oom") else "Completed" if not code else "Error"
    made: Object = {
        "exitCode": code, "reason": reason, "startedAt": stamp(record["started"]),
        "finishedAt": stamp(record.get("finished", record["started"])), "containerID": f"clew://{record['id']}",
    }  # fmt: skip
    if record.get("message"):
        made["message"] = record["message"]
    return made


def container_status(state: ContainerState) -> Object:
    made: Object = {
        "name": state.name, "image": state.image, "imageID": state.image_id, "restartCount": state.restarts,
        "ready": state.ready, "started": state.started, "state": {}, "lastState": {},
    }  # fmt: skip
    current = state.current
    if current and current["state"] == "running":
        made["state"] = {"running": {"startedAt": stamp(current["started"])}}
        made["containerID"] = f"clew://{current['id']}"
        if state.last:
            made["lastState"] = {"terminated": terminated(state.last)}
    elif state.waiting:
        made["state"] = {"waiting": {"reason": state.waiting} | ({"message": state.message} if state.message else {})}
        ended = current or state.last
        if ended and ended.get("state") == "exited":
            made["lastState"] = {"terminated": terminated(ended)}
            made["containerID"] = f"clew://{ended['id']}"
    elif current:
        made["state"] = {"terminated": terminated(current)}
        made["containerID"] = f"clew://{current['id']}"
        if state.last:
            made["lastState"] = {"terminated": terminated(state.last)}
    return made


def phase(pod: Object, init: list[ContainerState], regular: list[ContainerState]) -> str:
    """Pending, Running, Succeeded or Failed (kubernetes.io/docs, Pod Lifecycle)."""
    policy = pod["spec"].get("restartPolicy", "Always")
    if any(state.current is None and not state.waiting for state in regular) or not _initialized(init):
        failed = any(_failed(state) for state in init)
        return "Failed" if failed and policy == "Never" else "Pending"
    if all(state.current is None for state in regular):
        return "Pending"
    ended = [state for state in regular if state.current and state.current["state"] == "exited" and not state.waiting]
    if len(ended) < len(regular) or policy == "Always":
        return "Running"
    if all(not _failed(state) for state in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _failed(state: ContainerState) -> bool:
    return bool(state.current and state.current["state"] == "exited" and state.current.get("code"))


def _initialized(init: list[ContainerState]) -> bool:
    return all(
        (state.current and state.current["state"] == "exited" and not state.current.get("code")) or state.started
        for state in init
    )


def pod_status(
    pod: Object, init: list[ContainerState], regular: list[ContainerState], ips: tuple[str, ...],
    host_ips: tuple[str, ...], now: str,
) -> Object:  # fmt: skip
    """The whole status; conditions keep their transition times from the pod's present status."""
    current = phase(pod, init, regular)
    ready = bool(regular) and all(state.ready for state in regular)
    done = current in {"Succeeded", "Failed"}
    before = pod.get("status") or {}
    gates = {each["conditionType"] for each in pod["spec"].get("readinessGates") or ()}
    true = {each["type"] for each in before.get("conditions") or () if each["status"] == "True"}
    wanted = {
        "PodReadyToStartContainers": (bool(ips) and not done, ""),
        "Initialized": (_initialized(init), "" if _initialized(init) else "ContainersNotInitialized"),
        "Ready": (ready and gates <= true and not done, _unready(regular, done=done)),
        "ContainersReady": (ready and not done, _unready(regular, done=done)),
        "PodScheduled": (True, ""),
    }
    made: Object = {
        "phase": current, "qosClass": before.get("qosClass") or qos_class(pod),
        "conditions": _conditions(before.get("conditions") or [], wanted, now, _names(regular)),
        "hostIP": host_ips[0], "hostIPs": [{"ip": ip} for ip in host_ips],
        "startTime": before.get("startTime") or now,
        "containerStatuses": [container_status(state) for state in regular],
        "observedGeneration": pod["metadata"].get("generation", 1),
    }  # fmt: skip
    if init:
        made["initContainerStatuses"] = [container_status(state) for state in init]
    if ips:
        made |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    return made


def _names(regular: list[ContainerState]) -> str:
    return " ".join(state.name for state in regular if not state.ready)


def _unready(regular: list[ContainerState], *, done: bool) -> str:
    if done:
        return "PodCompleted"
    return "" if all(state.ready for state in regular) else "ContainersNotReady"


def _conditions(before: list[Object], wanted: dict[str, tuple[bool, str]], now: str, unready: str) -> list[Object]:
    old = {each["type"]: each for each in before}
    made: list[Object] = []
    for kind, (true, reason) in wanted.items():
        value = "True" if true else "False"
        previous = old.pop(kind, None)
        changed = now if previous is None or previous["status"] != value else previous.get("lastTransitionTime", now)
        condition: Object = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": changed}
        if not true and reason:
            condition["reason"] = reason
            if reason == "ContainersNotReady":
                condition["message"] = f"containers with unready status: [{unready}]"
        made.append(condition)
    return [*made, *old.values()]
