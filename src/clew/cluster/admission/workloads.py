"""The rules of Deployments, ReplicaSets and DaemonSets.

Source of rules and texts: k8s.io/kubernetes pkg/apis/apps/validation.
"""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.api.selectors import LabelSelector, SelectorError
from clew.base.value import Value
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    at_least,
    each_invalid,
    forbidden,
    invalid,
    required,
    unsupported,
)
from clew.cluster.admission.metadata import annotation_errors, label_errors
from clew.cluster.admission.pods import spec_errors
from clew.cluster.admission.pods.placement import selector_errors


class _Strategy(Value, rename="pascal"):
    """A DeploymentStrategy as the real server prints it: its own type, with Go's names."""

    type: str
    rolling_update: Object | None


def deployment_errors(obj: Object) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    yield from at_least("spec.replicas", spec.get("replicas"))
    yield from _selector(spec, "deployment")
    yield from _template(spec)
    yield from _strategy(spec.get("strategy") or {})
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        yield from at_least(f"spec.{field}", spec.get(field))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def replica_set_errors(obj: Object) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    yield from at_least("spec.replicas", spec.get("replicas"))
    yield from at_least("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from _selector(spec, "replicaset")
    yield from _template(spec)


def daemon_set_errors(obj: Object) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    yield from _selector(spec, "daemonset")
    yield from _template(spec)
    for field in ("minReadySeconds", "revisionHistoryLimit"):
        yield from at_least(f"spec.{field}", spec.get(field))
    yield from _update_strategy(spec.get("updateStrategy") or {})


def _selector(spec: Object, what: str) -> Iterator[FieldError]:
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is None:
        yield required("spec.selector")
        yield _mismatch(labels)
        return
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {what}")
    problems = list(selector_errors(selector, "spec.selector"))
    yield from problems
    try:
        matches = bool(problems) or LabelSelector.from_object(selector).matches(labels)
    except SelectorError:
        return
    if not matches:
        yield _mismatch(labels)


def _mismatch(labels: Object) -> FieldError:
    return invalid("spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`")


def _template(spec: Object) -> Iterator[FieldError]:
    template = spec.get("template") or {}
    meta, inner = template.get("metadata") or {}, template.get("spec") or {}
    yield from label_errors(meta.get("labels") or {}, "spec.template.labels")
    yield from annotation_errors(meta.get("annotations") or {}, "spec.template.annotations")
    yield from spec_errors(inner, "spec.template.spec", ("Always",))
    if inner.get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in ReplicaSet is not Supported"
        yield forbidden("spec.template.spec.activeDeadlineSeconds", text)
    if inner.get("ephemeralContainers"):
        yield forbidden("spec.template.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def _strategy(strategy: Object) -> Iterator[FieldError]:
    at, kind, rolling = "spec.strategy", strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            yield forbidden(f"{at}.rollingUpdate", text)
    elif kind != "RollingUpdate":
        yield unsupported(at, _Strategy(kind or "", rolling), ("Recreate", "RollingUpdate"))
    elif rolling is None:
        yield required(f"{at}.rollingUpdate", "this should be defaulted and never be nil")
    else:
        yield from _amounts(rolling, f"{at}.rollingUpdate", limited=("maxUnavailable",))
        if not _number(rolling.get("maxUnavailable")) and not _number(rolling.get("maxSurge")):
            text = "may not be 0 when `maxSurge` is 0"
            yield invalid(f"{at}.rollingUpdate.maxUnavailable", rolling.get("maxUnavailable"), text)


def _update_strategy(strategy: Object) -> Iterator[FieldError]:
    at, kind, rolling = "spec.updateStrategy", strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        yield unsupported(f"{at}.type", kind or "", ("OnDelete", "RollingUpdate"))
    elif rolling is None:
        yield required(f"{at}.rollingUpdate")
    else:
        yield from _amounts(rolling, f"{at}.rollingUpdate", limited=("maxUnavailable", "maxSurge"))
        lacking, surplus = _number(rolling.get("maxUnavailable")), _number(rolling.get("maxSurge"))
        if lacking and surplus:
            text = "may not be set when maxUnavailable is non-zero"
            yield invalid(f"{at}.rollingUpdate.maxSurge", rolling["maxSurge"], text)
        if not lacking and not surplus:
            yield required(f"{at}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")


def _amounts(rolling: Object, at: str, limited: tuple[str, ...]) -> Iterator[FieldError]:
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field)
        if value is None:
            continue
        problems = names.percent_or_number(value)
        yield from each_invalid(f"{at}.{field}", value, problems)
        if not problems and field in limited and isinstance(value, str) and int(value[:-1]) > 100:
            yield invalid(f"{at}.{field}", value, "must not be greater than 100%")


def _number(value: Any) -> int:
    """The number in `3` or `30%`; 0 for what is neither, which is told elsewhere."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return int(digits) if digits.isdecimal() else 0
    return value or 0


def workload_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        yield invalid("spec.selector", selector, "field is immutable")


def revision_errors(obj: Object) -> Iterator[FieldError]:
    """ControllerRevisions: a number, and the state it stands for."""
    if not obj.get("data"):
        yield required("data", "data is mandatory")
    yield from at_least("revision", obj.get("revision"))


def revision_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    if new.get("data") != old.get("data"):
        yield invalid("data", new.get("data"), "field is immutable")
