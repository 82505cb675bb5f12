"""Questions that several controllers ask of pods, and a pod made from a template. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from clew.api.conditions import condition, is_true, parse_time
from clew.api.kinds import POD, Kind
from clew.api.objects import Object, clone, dig, is_deleting, name_of, namespace_of
from clew.cluster.controllers.ownership import controller_reference


def phase(pod: Mapping[str, Any]) -> str:
    return str(dig(pod, "status", "phase") or "Pending")


def is_finished(pod: Mapping[str, Any]) -> bool:
    return phase(pod) in {"Succeeded", "Failed"}


def is_active(pod: Mapping[str, Any]) -> bool:
    """Counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not is_deleting(pod)


def is_ready(pod: Mapping[str, Any]) -> bool:
    return is_true(pod, "Ready")


def is_available(pod: Mapping[str, Any], min_ready: int, now: datetime) -> bool:
    """Ready for at least `min_ready` seconds."""
    return available_in(pod, min_ready, now) == 0


def available_in(pod: Mapping[str, Any], min_ready: int, now: datetime) -> float | None:
    """Seconds until the pod counts as available, if it stays ready; None while it is not ready."""
    if not is_ready(pod):
        return None
    since = parse_time((condition(pod, "Ready") or {}).get("lastTransitionTime"))
    if not min_ready or since is None:
        return 0.0
    return max(0.0, (since + timedelta(seconds=min_ready) - now).total_seconds())


def restarts(pod: Mapping[str, Any]) -> int:
    return sum(int(each.get("restartCount") or 0) for each in dig(pod, "status", "containerStatuses") or ())


def node_of(pod: Mapping[str, Any]) -> str:
    return str(dig(pod, "spec", "nodeName") or "")


def from_template(kind: Kind, owner: Object, template: Mapping[str, Any]) -> Object:
    """A pod to create for `owner`: the template's labels, annotations, finalizers and spec, a generated name."""
    meta = template.get("metadata") or {}
    made: dict[str, Any] = {
        "generateName": f"{name_of(owner)}-",
        "namespace": namespace_of(owner),
        "labels": dict(meta.get("labels") or {}),
        "ownerReferences": [controller_reference(kind, owner)],
    }
    for field in ("annotations", "finalizers"):
        if meta.get(field):
            made[field] = clone(meta[field])
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": made,
        "spec": clone(template.get("spec") or {}),
    }
