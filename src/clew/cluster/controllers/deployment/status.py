"""A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure. Pure.

`kubectl rollout status` reads observedGeneration, the counts and Progressing's reason; `kubectl wait` the conditions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from clew.api.conditions import condition, find, parse_time, with_condition, without_condition
from clew.api.objects import Object, dig, metadata, name_of
from clew.base.clock import rfc3339
from clew.cluster.controllers.deployment.rollout import Limits
from clew.cluster.controllers.expectations import LOOK_AGAIN

NEW_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def status(deployment: Object, new: Object | None, sets: Sequence[Object], limit: Limits, now: datetime) -> Object:
    """The status that the Deployment should have; `sets` are all of its ReplicaSets, `new` the present one."""
    found = counts(deployment, new, sets)
    conditions = dig(deployment, "status", "conditions") or []
    conditions = _set(conditions, _available(found["availableReplicas"], limit), now)
    if dig(deployment, "spec", "progressDeadlineSeconds") is not None:
        progressing = _progressing(deployment, new, found, limit, now)
        if progressing is not None:
            conditions = _set(conditions, progressing, now)
            if progressing.get("renew"):
                conditions = [_renewed(each, now) for each in conditions]
    failures = (condition(each, "ReplicaFailure") for each in ([new] if new else sets))
    failure = next((each for each in failures if each is not None), None)
    if failure is not None:
        fields = {name: failure.get(name) for name in ("type", "status", "reason", "message")}
        conditions = _set(conditions, fields, now)
    else:
        conditions = without_condition(conditions, "ReplicaFailure")
    found["conditions"] = conditions
    return found


def counts(deployment: Object, new: Object | None, sets: Sequence[Object]) -> Object:
    """The numbers of the status, from the sets' own."""

    def total(field: str) -> int:
        return sum(int(dig(each, "status", field) or 0) for each in sets)

    available = total("availableReplicas")
    found = {
        "observedGeneration": int(metadata(deployment).get("generation") or 0),
        "replicas": total("replicas"),
        "updatedReplicas": int(dig(new, "status", "replicas") or 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(int(dig(each, "spec", "replicas") or 0) for each in sets) - available),
        "terminatingReplicas": total("terminatingReplicas"),
    }
    if collisions := dig(deployment, "status", "collisionCount"):
        found["collisionCount"] = collisions
    return found


def _available(count: int, limit: Limits) -> Object:
    if count >= limit.least_available:
        reason, message, state = "MinimumReplicasAvailable", "Deployment has minimum availability.", "True"
    else:
        reason, message = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
        state = "False"
    return {"type": "Available", "status": state, "reason": reason, "message": message}


def is_complete(found: Mapping[str, Any], limit: Limits) -> bool:
    """All replicas are of the present template and available, and none of another is left."""
    counts = (found["updatedReplicas"], found["replicas"], found["availableReplicas"])
    return counts == (limit.wanted,) * 3


def _progressing(deployment: Object, new: Object | None, found: Object, limit: Limits, now: datetime) -> Object | None:
    """The Progressing condition to set, or None to leave it; `renew` when only its update time moves."""
    old = condition(deployment, "Progressing")
    reason = old.get("reason") if old else None
    about = f'ReplicaSet "{name_of(new)}"' if new else f'Deployment "{name_of(deployment)}"'
    if dig(deployment, "spec", "paused"):
        return None if reason == PAUSED else _progress("Unknown", PAUSED, "Deployment is paused")
    if reason == PAUSED:
        return _progress("Unknown", RESUMED, "Deployment is resumed")
    if reason == NEW_AVAILABLE and found["replicas"] == found["updatedReplicas"]:
        return None
    if is_complete(found, limit):
        return _progress("True", NEW_AVAILABLE, f"{about} has successfully progressed.")
    if _moved(deployment.get("status") or {}, found):
        made = _progress("True", "ReplicaSetUpdated", f"{about} is progressing.")
        same = reason == "ReplicaSetUpdated" and old is not None and old.get("message") == made["message"]
        return {**made, "renew": True} if same else made
    if overdue(deployment, now) == 0:
        return _progress("False", TIMED_OUT, f"{about} has timed out progressing.")
    if new is not None and reason is None:
        return _progress("True", "FoundNewReplicaSet", f'Found new replica set "{name_of(new)}"')
    return None


def _progress(state: str, reason: str, message: str) -> Object:
    return {"type": "Progressing", "status": state, "reason": reason, "message": message}


def _moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the rollout came nearer to its end since the last status."""

    def count(status_: Mapping[str, Any], field: str) -> int:
        return int(status_.get(field) or 0)

    return (
        count(new, "updatedReplicas") > count(old, "updatedReplicas")
        or count(new, "replicas") - count(new, "updatedReplicas")
        < count(old, "replicas") - count(old, "updatedReplicas")
        or count(new, "readyReplicas") > count(old, "readyReplicas")
        or count(new, "availableReplicas") > count(old, "availableReplicas")
    )


def overdue(deployment: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds until the rollout counts as stuck, 0 when it does; None when nothing is awaited or that is said."""
    deadline = dig(deployment, "spec", "progressDeadlineSeconds")
    old = condition(deployment, "Progressing")
    if deadline is None or old is None or dig(deployment, "spec", "paused"):
        return None
    if old.get("reason") in {NEW_AVAILABLE, PAUSED, TIMED_OUT}:
        return None
    since = parse_time(old.get("lastUpdateTime") or old.get("lastTransitionTime"))
    if since is None:
        return None
    return max(0.0, (since + timedelta(seconds=int(deadline)) - now).total_seconds())


def look_again(deployment: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds until the deadline has to be looked at; None when it need not be.

    It may have passed since the status was made: no event would ever tell.
    """
    left = overdue(deployment, now)
    return LOOK_AGAIN if left == 0 else left


def with_progress(deployment: Object, reason: str, message: str, now: datetime, state: str = "True") -> list[Object]:
    """The Deployment's conditions with Progressing set: a new set was made, found, or could not be made."""
    return _set(dig(deployment, "status", "conditions") or [], _progress(state, reason, message), now)


def _set(conditions: Sequence[Mapping[str, Any]], new: Mapping[str, Any], now: datetime) -> list[Object]:
    fields = {name: value for name, value in new.items() if name != "renew"}
    old = find(conditions, fields["type"])
    if old is not None and all(old.get(name) == fields[name] for name in ("status", "reason", "message")):
        return [dict(each) for each in conditions]
    made = with_condition(conditions, {**fields, "lastUpdateTime": rfc3339(now)}, rfc3339(now))
    # What changed stands last, as Kubernetes has it: a finished rollout shows Available above Progressing.
    return sorted(made, key=lambda each: bool(each["type"] == fields["type"]))


def _renewed(each: Object, now: datetime) -> Object:
    return {**each, "lastUpdateTime": rfc3339(now)} if each["type"] == "Progressing" else each
