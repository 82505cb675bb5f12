"""Defaults of Deployments, ReplicaSets and DaemonSets."""

from clew.api.objects import Object
from clew.cluster.admission.defaults.fill import fill, fill_empty, part
from clew.cluster.admission.defaults.pods import pod_spec


def _template(spec: Object) -> None:
    template = part(spec, "template")
    part(template, "metadata")
    pod_spec(part(template, "spec"))


def deployment(obj: Object) -> None:
    spec = part(obj, "spec")
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = part(spec, "strategy")
    fill_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(part(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def replica_set(obj: Object) -> None:
    spec = part(obj, "spec")
    fill(spec, replicas=1)
    _template(spec)


def daemon_set(obj: Object) -> None:
    spec = part(obj, "spec")
    fill(spec, revisionHistoryLimit=10)
    strategy = part(spec, "updateStrategy")
    fill_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(part(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    _template(spec)
