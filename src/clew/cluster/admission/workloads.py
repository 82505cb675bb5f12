"""The rules of Deployments, ReplicaSets and DaemonSets."""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.api.selectors import LabelSelector, SelectorError
from clew.cluster.admission.field_errors import FieldError, invalid, required, unsupported
from clew.cluster.admission.metadata import label_errors
from clew.cluster.admission.pods import spec_errors


def workload_errors(obj: Object) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    yield from _selector(spec)
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        yield invalid("spec.replicas", replicas, "must be greater than or equal to 0")
    if (spec.get("minReadySeconds") or 0) < 0:
        yield invalid("spec.minReadySeconds", spec["minReadySeconds"], "must be greater than or equal to 0")
    yield from _strategy(spec)
    template = spec.get("template") or {}
    yield from label_errors((template.get("metadata") or {}).get("labels") or {}, "spec.template.metadata.labels")
    yield from spec_errors(template.get("spec") or {}, "spec.template.spec", ("Always",))


def _selector(spec: Object) -> Iterator[FieldError]:
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        yield required("spec.selector")
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        return
    try:
        parsed = LabelSelector.from_object(selector)
    except SelectorError as wrong:
        yield invalid("spec.selector", selector, str(wrong))
        return
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, "empty selector is invalid for deployment")
    if not parsed.matches(labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _strategy(spec: Object) -> Iterator[FieldError]:
    for field, kinds in (
        ("strategy", ("RollingUpdate", "Recreate")),
        ("updateStrategy", ("RollingUpdate", "OnDelete")),
    ):
        strategy = spec.get(field)
        if not strategy:
            continue
        if strategy.get("type") not in kinds:
            yield unsupported(f"spec.{field}.type", strategy.get("type"), kinds)
        rolling = strategy.get("rollingUpdate") or {}
        for name in ("maxSurge", "maxUnavailable"):
            if name in rolling and not _amount(rolling[name]):
                yield invalid(
                    f"spec.{field}.rollingUpdate.{name}", rolling[name],
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%')",
                )  # fmt: skip
        if rolling.get("maxSurge") in {0, "0%"} and rolling.get("maxUnavailable") in {0, "0%"}:
            yield invalid(
                f"spec.{field}.rollingUpdate.maxUnavailable",
                rolling["maxUnavailable"],
                "may not be 0 when `maxSurge` is 0",
            )


def _amount(value: Any) -> bool:
    if isinstance(value, int):
        return value >= 0
    return isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal()


def workload_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        yield invalid("spec.selector", selector, "field is immutable")
