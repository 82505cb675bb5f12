"""A DaemonSet's templates over time, kept as ControllerRevisions for `kubectl rollout history` and `undo`. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from clew.api.kinds import CONTROLLER_REVISION, DAEMON_SET
from clew.api.objects import Object, annotations, clone, dig, labels, metadata, name_of, namespace_of
from clew.cluster.controllers.daemonset.placement import HASH_LABEL
from clew.cluster.controllers.deployment.revisions import same_template, template_hash
from clew.cluster.controllers.ownership import controller_reference

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_UNCOPIED = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})


def data(daemon_set: Object) -> Object:
    """What a revision stores: a strategic merge patch that brings this template back."""
    template = clone(dig(daemon_set, "spec", "template") or {})
    template["$patch"] = "replace"
    return {"spec": {"template": template}}


def present(daemon_set: Object, history: Iterable[Object]) -> Object | None:
    """The newest revision of the DaemonSet's present template."""
    wanted = dig(daemon_set, "spec", "template") or {}
    found = [each for each in history if same_template(_template(each), wanted)]
    return max(found, key=number, default=None)


def _template(revision: Object) -> dict[str, Any]:
    template = dict(dig(revision, "data", "spec", "template") or {})
    template.pop("$patch", None)
    return template


def number(revision: Object) -> int:
    return int(revision.get("revision") or 0)


def hash_of(revision: Object) -> str:
    return labels(revision).get(HASH_LABEL, "")


def new_revision(daemon_set: Object, history: Sequence[Object]) -> Object:
    template = dig(daemon_set, "spec", "template") or {}
    short = template_hash(template, int(dig(daemon_set, "status", "collisionCount") or 0))
    own = dict(dig(template, "metadata", "labels") or {}) | {HASH_LABEL: short}
    notes = {name: text for name, text in annotations(daemon_set).items() if name not in _UNCOPIED}
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": {
            "name": f"{name_of(daemon_set)}-{short}",
            "namespace": namespace_of(daemon_set),
            "labels": own,
            "annotations": notes,
            "ownerReferences": [controller_reference(DAEMON_SET, daemon_set)],
        },
        "data": data(daemon_set),
        "revision": max(map(number, history), default=0) + 1,
    }


def generation(daemon_set: Object) -> int:
    """The label that pods get beside the hash; the object's own generation where the old annotation is absent."""
    text = annotations(daemon_set).get(TEMPLATE_GENERATION, "")
    return int(text) if text.isdigit() else int(metadata(daemon_set).get("generation") or 1)


def to_forget(daemon_set: Object, history: Sequence[Object], pods: Iterable[Object]) -> list[Object]:
    """Revisions beyond revisionHistoryLimit that no pod has, the oldest first."""
    limit = dig(daemon_set, "spec", "revisionHistoryLimit")
    limit = 10 if limit is None else int(limit)
    live = {labels(pod).get(HASH_LABEL) for pod in pods}
    now = present(daemon_set, history)
    idle = [each for each in history if hash_of(each) not in live and each is not now]
    return sorted(idle, key=number)[: max(0, len(idle) - limit)]
