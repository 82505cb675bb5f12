"""The columns of pods: READY, STATUS and RESTARTS as kubectl's users know them.

Source: k8s.io/kubernetes pkg/printers/internalversion, printPod.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from clew.api.conditions import is_true
from clew.api.objects import Object, dig
from clew.cluster.tables.columns import AGE, NAME, Column, age, name, since

POD_COLUMNS = (
    NAME, Column("Ready"), Column("Status"), Column("Restarts"), AGE,
    Column("IP", priority=1), Column("Node", priority=1), Column("Nominated Node", priority=1),
    Column("Readiness Gates", priority=1),
)  # fmt: skip
_ENDED = ("Succeeded", "Failed")


def pod_cells(pod: Object, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    ready, total = _ready(spec, status)
    addresses = status.get("podIPs") or [{"ip": status.get("podIP")}]
    return [
        name(pod), f"{ready}/{total}", _status(pod), _restarts(pod, now), age(pod, now),
        addresses[0].get("ip") or "<none>", spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>", _gates(pod),
    ]  # fmt: skip


def _sidecars(spec: Object) -> set[str]:
    """The init containers that go on running beside the others."""
    return {each["name"] for each in spec.get("initContainers") or [] if each.get("restartPolicy") == "Always"}


def _ready(spec: Object, status: Object) -> tuple[int, int]:
    sidecars = _sidecars(spec)
    main = sum(
        bool(each.get("ready")) and dig(each, "state", "running") is not None
        for each in status.get("containerStatuses") or []
    )
    beside = sum(
        bool(each.get("ready") and each.get("started"))
        for each in status.get("initContainerStatuses") or []
        if each.get("name") in sidecars
    )
    return main + beside, len(spec.get("containers") or []) + len(sidecars)


def _gates(pod: Object) -> str:
    gates = dig(pod, "spec", "readinessGates") or []
    if not gates:
        return "<none>"
    return f"{sum(is_true(pod, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"


def _restarts(pod: Object, now: datetime) -> str:
    """While a pod initializes, of its init containers; afterwards of those that go on running."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    early = status.get("initContainerStatuses") or []
    if not _initializing(pod) or is_true(pod, "Initialized"):
        sidecars = _sidecars(spec)
        counted = [each for each in early if each.get("name") in sidecars] + (status.get("containerStatuses") or [])
    else:
        counted = early[: _current(pod, early) + 1]
    count = sum(each.get("restartCount") or 0 for each in counted)
    last = max((dig(each, "lastState", "terminated", "finishedAt") or "" for each in counted), default="")
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


def _current(pod: Object, statuses: Sequence[Mapping[str, Any]]) -> int:
    """Which init container the pod waits for; the number of statuses where none is left."""
    sidecars = _sidecars(pod.get("spec") or {})
    for index, each in enumerate(statuses):
        ended = dig(each, "state", "terminated")
        is_done = ended is not None and not ended.get("exitCode")
        if not is_done and not (each.get("name") in sidecars and each.get("started")):
            return index
    return len(statuses)


def _initializing(pod: Object) -> str:
    """`Init:0/1`, `Init:CrashLoopBackOff`; empty once all init containers are done."""
    statuses = dig(pod, "status", "initContainerStatuses") or []
    index = _current(pod, statuses)
    if index == len(statuses):
        return ""
    state = statuses[index].get("state") or {}
    waiting = dig(state, "waiting", "reason")
    if state.get("terminated") is not None:
        return f"Init:{_end(state['terminated'])}"
    if waiting and waiting != "PodInitializing":
        return f"Init:{waiting}"
    return f"Init:{index}/{len(dig(pod, 'spec', 'initContainers') or [])}"


def _end(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode') or 0}"


def _status(pod: Object) -> str:
    status = pod.get("status") or {}
    phase = status.get("phase") or "Unknown"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if phase not in _ENDED:
            return "Terminating"
    reason = status.get("reason") or phase
    gated = any(
        each.get("type") == "PodScheduled" and each.get("reason") == "SchedulingGated"
        for each in status.get("conditions") or []
    )
    initializing = _initializing(pod)
    reason = initializing or ("SchedulingGated" if gated else reason)
    return reason if initializing and not is_true(pod, "Initialized") else _of_containers(pod, reason)


def _of_containers(pod: Object, reason: str) -> str:
    """What the first container that does not run says; the pod's own word where all run."""
    running = False
    for each in reversed(dig(pod, "status", "containerStatuses") or []):
        state = each.get("state") or {}
        waiting = dig(state, "waiting", "reason")
        if waiting:
            reason = waiting
        elif state.get("terminated") is not None:
            reason = _end(state["terminated"])
        elif each.get("ready") and state.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        return "Running" if is_true(pod, "Ready") else "NotReady"
    return reason
