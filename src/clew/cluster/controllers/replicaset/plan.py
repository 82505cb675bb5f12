"""What a ReplicaSet lacks or has too many of, whom to let go first, and its status. Pure.

The order of scaling down is kube-controller-manager's (`ActivePodsWithRanks`): whoever matters least goes first.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from clew.api.conditions import condition, is_true, parse_time, with_condition, without_condition
from clew.api.objects import Object, annotations, dig, is_deleting, labels, metadata, uid_of
from clew.base.clock import rfc3339
from clew.base.value import Value
from clew.cluster.controllers import pods as podlike

BURST = 500  # pods created or deleted in one go
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


class Plan(Value):
    """Either some to create, or some to delete, or neither."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan(replica_set: Object, pods: Sequence[Object], related: Iterable[Object], now: datetime) -> Plan:
    """`pods` are the set's own; `related` those of its siblings (all sets of its owner), for spreading over nodes."""
    if is_deleting(replica_set):
        return Plan()
    active = [pod for pod in pods if podlike.is_active(pod)]
    excess = len(active) - wanted(replica_set)
    if excess < 0:
        return Plan(create=min(-excess, BURST))
    if excess > 0:
        return Plan(delete=tuple(least_missed(active, related, now)[: min(excess, BURST)]))
    return Plan()


def wanted(replica_set: Mapping[str, Any]) -> int:
    count = dig(replica_set, "spec", "replicas")
    return 1 if count is None else int(count)


def least_missed(pods: Sequence[Object], related: Iterable[Object], now: datetime) -> list[Object]:
    """The pods in the order in which to delete them."""
    crowd: dict[str, int] = {}
    for pod in related:
        if podlike.is_active(pod):
            crowd[podlike.node_of(pod)] = crowd.get(podlike.node_of(pod), 0) + 1
    return sorted(pods, key=lambda pod: _weight(pod, crowd.get(podlike.node_of(pod), 0), now))


def _weight(pod: Object, crowd: int, now: datetime) -> tuple[Any, ...]:
    ready = podlike.is_ready(pod)
    since = parse_time((condition(pod, "Ready") or {}).get("lastTransitionTime")) if ready else None
    return (
        bool(podlike.node_of(pod)),
        _PHASES.get(podlike.phase(pod), 2),
        ready,
        _deletion_cost(pod),
        -crowd,
        _age(since, now),
        -podlike.restarts(pod),
        _age(parse_time(metadata(pod).get("creationTimestamp")), now),
        uid_of(pod),
    )


def _age(since: datetime | None, now: datetime) -> int:
    """The logarithm of the age: pods of about the same age count as equal, so that one of them goes at random."""
    if since is None:
        return -1
    return int(math.log2(max(1.0, (now - since).total_seconds())))


def _deletion_cost(pod: Object) -> int:
    try:
        return int(annotations(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def status(replica_set: Object, pods: Sequence[Object], failure: str, now: datetime) -> Object:
    """The status that the set should have; `failure` says why pods could not be made or deleted, if so."""
    template = dig(replica_set, "spec", "template", "metadata", "labels") or {}
    min_ready = int(dig(replica_set, "spec", "minReadySeconds") or 0)
    active = [pod for pod in pods if podlike.is_active(pod)]
    ready = [pod for pod in active if podlike.is_ready(pod)]
    found: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(1 for pod in active if template.items() <= labels(pod).items()),
        "readyReplicas": len(ready),
        "availableReplicas": sum(1 for pod in ready if podlike.is_available(pod, min_ready, now)),
        "terminatingReplicas": sum(1 for pod in pods if is_deleting(pod) and not podlike.is_finished(pod)),
        "observedGeneration": int(metadata(replica_set).get("generation") or 0),
    }
    old = dig(replica_set, "status", "conditions")
    if failure:
        reason = "FailedCreate" if len(active) < wanted(replica_set) else "FailedDelete"
        failed = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": failure}
        conditions = with_condition(old, failed, rfc3339(now))
    elif is_true(replica_set, "ReplicaFailure"):
        conditions = without_condition(old, "ReplicaFailure")
    else:
        conditions = list(old or ())
    if conditions:
        found["conditions"] = conditions
    return found


def available_soon(replica_set: Object, pods: Iterable[Object], now: datetime) -> float | None:
    """Seconds until the next ready pod counts as available, if one is waiting for that."""
    min_ready = int(dig(replica_set, "spec", "minReadySeconds") or 0)
    waits = [wait for pod in pods if (wait := podlike.available_in(pod, min_ready, now))]
    return min(waits, default=None)


def same_status(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Whether writing would change anything; absent and zero are the same in the API's JSON."""
    old = old or {}
    return all((old.get(field) or 0) == (value or 0) for field, value in new.items()) and (
        "conditions" in new or not old.get("conditions")
    )
