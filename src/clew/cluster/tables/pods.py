"""The columns of pods: READY, STATUS and RESTARTS as kubectl's users know them."""

from datetime import datetime
from typing import Any

from clew.api.objects import Object
from clew.cluster.tables.columns import AGE, NAME, Column, age, name, since

POD_COLUMNS = (
    NAME, Column("Ready"), Column("Status"), Column("Restarts"), AGE,
    Column("IP", priority=1), Column("Node", priority=1), Column("Nominated Node", priority=1),
    Column("Readiness Gates", priority=1),
)  # fmt: skip


def pod_cells(pod: Object, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    statuses = status.get("containerStatuses") or []
    ready = sum(bool(each.get("ready")) for each in statuses)
    sidecars = [each for each in spec.get("initContainers") or [] if each.get("restartPolicy") == "Always"]
    total = len(spec.get("containers") or []) + len(sidecars)
    by_name = {each["name"]: each for each in status.get("initContainerStatuses") or []}
    ready += sum(bool(by_name.get(each["name"], {}).get("ready")) for each in sidecars)
    gates = spec.get("readinessGates") or []
    return [
        name(pod), f"{ready}/{total}", _reason(pod), _restarts(pod, now), age(pod, now),
        status.get("podIP") or "<none>", spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>", _gates(gates, status),
    ]  # fmt: skip


def _gates(gates: list[Object], status: Object) -> str:
    if not gates:
        return "<none>"
    true = {each["type"] for each in status.get("conditions") or [] if each["status"] == "True"}
    return f"{sum(gate['conditionType'] in true for gate in gates)}/{len(gates)}"


def _restarts(pod: Object, now: datetime) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    count = sum(each.get("restartCount", 0) for each in statuses)
    ends = [((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for each in statuses]
    last = max((end for end in ends if end), default="")
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


def _terminated(state: Object) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _initializing(pod: Object) -> str:
    """`Init:0/1`, `Init:CrashLoopBackOff`; empty once all init containers are done."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    wanted = spec.get("initContainers") or []
    sidecars = {each["name"] for each in wanted if each.get("restartPolicy") == "Always"}
    for index, each in enumerate(status.get("initContainerStatuses") or []):
        state = each.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if (ended and not ended.get("exitCode")) or (each["name"] in sidecars and each.get("started")):
            continue
        if ended:
            return f"Init:{_terminated(ended)}"
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(wanted)}"
    return ""


def _reason(pod: Object) -> str:
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    initializing = _initializing(pod)
    if initializing:
        reason = initializing
    else:
        running = False
        for each in reversed(status.get("containerStatuses") or []):
            state = each.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                reason = waiting["reason"]
            elif ended:
                reason = _terminated(ended)
            elif each.get("ready") and state.get("running"):
                running = True
        if reason == "Completed" and running:
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])
            reason = "Running" if ready else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(reason)
