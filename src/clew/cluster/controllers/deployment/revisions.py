"""A Deployment's ReplicaSets: which of them is its present template, what a new one looks like, how they are numbered.

Pure. Names and annotations are kubectl's and kube-controller-manager's own, so that `kubectl rollout` works.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from clew.api.kinds import DEPLOYMENT, REPLICA_SET
from clew.api.objects import Object, annotations, clone, dig, metadata, name_of, namespace_of
from clew.cluster.controllers.ownership import controller_reference

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
_OWN = frozenset({REVISION, HISTORY, DESIRED, MOST, "kubectl.kubernetes.io/last-applied-configuration"})
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words, and nothing that looks like another


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """A short name for a pod template: FNV-1a over its canonical JSON, in letters that are safe in names."""
    data = msgspec.json.encode(template, order="deterministic") + str(collisions).encode()
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))


def same_template(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Equal but for the hash label that the controller adds."""
    return bool(_bare(left) == _bare(right))


def _bare(template: Mapping[str, Any]) -> Any:
    bare = _without_nothing(template)
    (bare.get("metadata") or {}).get("labels", {}).pop(HASH_LABEL, None)
    return bare


def _without_nothing(value: Any) -> Any:
    """A copy without null fields: a real server writes `creationTimestamp: null` into templates."""
    if isinstance(value, Mapping):
        return {name: _without_nothing(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    return value


def oldest_first(sets: Iterable[Object]) -> list[Object]:
    return sorted(sets, key=lambda each: (metadata(each).get("creationTimestamp") or "", name_of(each)))


def present(deployment: Object, sets: Iterable[Object]) -> Object | None:
    """The set that has the Deployment's template; the oldest, should there be two."""
    wanted = _bare(dig(deployment, "spec", "template") or {})
    return next((each for each in oldest_first(sets) if _bare(each["spec"]["template"]) == wanted), None)


def revision_of(obj: Mapping[str, Any]) -> int:
    text = annotations(obj).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def next_revision(sets: Iterable[Object]) -> int:
    """The number of the newest rollout, given the older sets."""
    return max((revision_of(each) for each in sets), default=0) + 1


def new_set(deployment: Object, replicas: int, revision: int, most: int) -> Object:
    """The ReplicaSet of the Deployment's present template."""
    template = clone(dig(deployment, "spec", "template") or {})
    short = template_hash(template, int(dig(deployment, "status", "collisionCount") or 0))
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = short
    selector = clone(deployment["spec"].get("selector") or {})
    selector.setdefault("matchLabels", {})[HASH_LABEL] = short
    spec: Object = {"replicas": replicas, "selector": selector, "template": template}
    if min_ready := deployment["spec"].get("minReadySeconds"):
        spec["minReadySeconds"] = min_ready
    made: Object = {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.kind,
        "metadata": {
            "name": f"{name_of(deployment)}-{short}",
            "namespace": namespace_of(deployment),
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [controller_reference(DEPLOYMENT, deployment)],
        },
        "spec": spec,
    }
    made["metadata"]["annotations"] = noted(deployment, made, revision) | scale_notes(deployment, most)
    return made


def noted(deployment: Object, replica_set: Object, revision: int) -> dict[str, str]:
    """The annotations of the present set: the Deployment's own, and its revision with the earlier ones it had."""
    found = dict(annotations(replica_set))
    found |= {name: text for name, text in annotations(deployment).items() if name not in _OWN}
    old = revision_of(replica_set)
    if old < revision:
        found[REVISION] = str(revision)
        if old:
            history = [text for text in found.get(HISTORY, "").split(",") if text]
            found[HISTORY] = ",".join([*history, str(old)])
    return found


def scale_notes(deployment: Object, most: int) -> dict[str, str]:
    """What a set remembers of the Deployment's size, for scaling in the middle of a rollout."""
    return {DESIRED: str(dig(deployment, "spec", "replicas")), MOST: str(most)}


def to_forget(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old sets beyond revisionHistoryLimit that hold no pods any more, the oldest revision first."""
    limit = dig(deployment, "spec", "revisionHistoryLimit")
    limit = 10 if limit is None else int(limit)
    idle = [each for each in old if not metadata(each).get("deletionTimestamp")]
    excess = len(idle) - limit
    if excess <= 0:
        return []
    candidates = sorted(idle, key=revision_of)[:excess]
    return [each for each in candidates if _is_empty(each)]


def _is_empty(each: Object) -> bool:
    status = each.get("status") or {}
    return (
        not each["spec"].get("replicas")
        and not status.get("replicas")
        and int(status.get("observedGeneration") or 0) >= int(metadata(each).get("generation") or 0)
    )
