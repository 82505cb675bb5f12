"""Taints and tolerations: what a node's condition taints it with, and how long a pod may stay. Pure.

Used by the node controllers, by DaemonSets and by the scheduler.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from clew.api.conditions import condition, parse_time
from clew.api.objects import Object, dig
from clew.base.clock import rfc3339

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"

# Condition type, status, and the key that it taints with against scheduling.
_BY_CONDITION = (
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", MEMORY_PRESSURE),
    ("DiskPressure", "True", DISK_PRESSURE),
    ("PIDPressure", "True", PID_PRESSURE),
    ("NetworkUnavailable", "True", NETWORK_UNAVAILABLE),
)
_OURS = frozenset({(key, "NoSchedule") for _, _, key in _BY_CONDITION}) | {
    (UNSCHEDULABLE, "NoSchedule"), (NOT_READY, "NoExecute"), (UNREACHABLE, "NoExecute"),
}  # fmt: skip

Taint = Mapping[str, Any]


def taints(node: Mapping[str, Any]) -> Sequence[Taint]:
    return dig(node, "spec", "taints") or ()


def by_condition(node: Object, now: datetime, *, evict: bool) -> list[Object]:
    """The node's taints as its conditions ask for, others left alone; `evict` adds the NoExecute ones."""
    wanted = [
        {"key": key, "effect": "NoSchedule"}
        for type_, status, key in _BY_CONDITION
        if (condition(node, type_) or {}).get("status") == status
    ]
    if dig(node, "spec", "unschedulable"):
        wanted.append({"key": UNSCHEDULABLE, "effect": "NoSchedule"})
    if evict:
        driving = [each["key"] for each in wanted if each["key"] in {NOT_READY, UNREACHABLE}]
        wanted.extend({"key": key, "effect": "NoExecute", "timeAdded": rfc3339(now)} for key in driving)
    present = {(each["key"], each["effect"]): each for each in taints(node)}
    kept = [dict(each) for each in taints(node) if (each["key"], each["effect"]) not in _OURS]
    return kept + [dict(present.get((each["key"], each["effect"]), each)) for each in wanted]


def same(left: Iterable[Taint], right: Iterable[Taint]) -> bool:
    """Whether two lists hold the same taints, in any order."""
    return sorted(map(_text, left)) == sorted(map(_text, right))


def _text(taint: Taint) -> tuple[str, str, str]:
    return str(taint.get("key")), str(taint.get("effect")), str(taint.get("value") or "")


def tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """One toleration, one taint: effect, key and value, where given, must fit."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if key and key != taint.get("key"):
        return False
    if operator == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(pod_spec: Mapping[str, Any], node_taints: Iterable[Taint], effects: frozenset[str]) -> Taint | None:
    """The first taint with one of the effects that the pod does not tolerate."""
    tolerations = pod_spec.get("tolerations") or ()
    for taint in node_taints:
        if taint.get("effect") in effects and not any(tolerates(each, taint) for each in tolerations):
            return taint
    return None


def leaves_in(pod_spec: Mapping[str, Any], node_taints: Iterable[Taint], now: datetime) -> float | None:
    """Seconds until NoExecute taints drive the pod away: 0 at once, None never."""
    tolerations = pod_spec.get("tolerations") or ()
    waits: list[float] = []
    for taint in node_taints:
        if taint.get("effect") != "NoExecute":
            continue
        fitting = [each for each in tolerations if tolerates(each, taint)]
        if not fitting:
            return 0.0
        limits = [each["tolerationSeconds"] for each in fitting if each.get("tolerationSeconds") is not None]
        if limits:
            added = parse_time(taint.get("timeAdded")) or now
            until = added + timedelta(seconds=max(0, min(limits)))
            waits.append(max(0.0, (until - now).total_seconds()))
    return min(waits, default=None)
