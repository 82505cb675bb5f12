"""Where a pod may run: node selector, affinity, tolerations, spreading."""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    each_invalid,
    forbidden,
    invalid,
    one_of,
    required,
    unsupported,
)
from clew.cluster.admission.metadata import label_errors

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_SPREADING = ("DoNotSchedule", "ScheduleAnyway")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
_LABEL_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def placement_errors(spec: Object, at: str) -> Iterator[FieldError]:
    yield from label_errors(spec.get("nodeSelector") or {}, f"{at}.nodeSelector")
    for index, toleration in enumerate(spec.get("tolerations") or []):
        yield from _toleration(toleration, f"{at}.tolerations[{index}]")
    affinity = spec.get("affinity") or {}
    yield from _node_affinity(affinity.get("nodeAffinity") or {}, f"{at}.affinity.nodeAffinity")
    for field in ("podAffinity", "podAntiAffinity"):
        yield from _pod_affinity(affinity.get(field) or {}, f"{at}.affinity.{field}")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or []):
        yield from _spread(constraint, f"{at}.topologySpreadConstraints[{index}]")


def _toleration(toleration: Object, at: str) -> Iterator[FieldError]:
    key, operator, value = toleration.get("key") or "", toleration.get("operator") or "Equal", toleration.get("value")
    effect = toleration.get("effect") or ""
    if key:
        yield from each_invalid(f"{at}.key", key, names.qualified(key))
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid(f"{at}.operator", toleration.get("operator") or "", text)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    if operator == "Equal":
        yield from each_invalid(f"{at}.operator", value or "", names.label_value(value or ""))
    elif operator == "Exists":
        if value:
            yield invalid(f"{at}.operator", toleration, "value must be empty when `operator` is 'Exists'")
    else:
        yield unsupported(f"{at}.operator", operator, ("Equal", "Exists"))
    if effect and effect not in EFFECTS:
        yield unsupported(f"{at}.effect", effect, EFFECTS)


def _node_affinity(affinity: Object, at: str) -> Iterator[FieldError]:
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        here = f"{at}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        terms = needed.get("nodeSelectorTerms") or []
        if not terms:
            yield required(here, "must have at least one node selector term")
        for index, term in enumerate(terms):
            yield from _term(term, f"{here}[{index}]")
    for index, each in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []):
        here = f"{at}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _weight(each, here)
        yield from _term(each.get("preference") or {}, f"{here}.preference")


def _weight(each: Object, at: str) -> Iterator[FieldError]:
    if not 1 <= each.get("weight", 0) <= 100:
        yield invalid(f"{at}.weight", each.get("weight", 0), "must be in the range 1-100")


def _term(term: Object, at: str) -> Iterator[FieldError]:
    for group in ("matchExpressions", "matchFields"):
        for index, expression in enumerate(term.get(group) or []):
            yield from _expression(expression, f"{at}.{group}[{index}]", _NODE_OPERATORS)


def _expression(expression: Object, at: str, operators: tuple[str, ...]) -> Iterator[FieldError]:
    operator, values = expression.get("operator") or "", expression.get("values") or []
    key = expression.get("key") or ""
    if operator in ("In", "NotIn") and not values:
        yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif operator in ("Gt", "Lt") and operator in operators:
        if len(values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield required(f"{at}.values", text)
    elif operator not in operators:
        yield invalid(f"{at}.operator", operator, "not a valid selector operator")
    yield from each_invalid(f"{at}.key", key, names.qualified(key))


def selector_errors(selector: Any, at: str) -> Iterator[FieldError]:
    """A metav1.LabelSelector."""
    if not selector:
        return
    yield from label_errors(selector.get("matchLabels") or {}, f"{at}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or []):
        here = f"{at}.matchExpressions[{index}]"
        yield from _expression(expression, here, _LABEL_OPERATORS)
        for number, value in enumerate(expression.get("values") or []):
            yield from each_invalid(f"{here}.values[{number}]", value, names.label_value(value))


def _pod_affinity(affinity: Object, at: str) -> Iterator[FieldError]:
    for index, term in enumerate(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []):
        yield from _pod_term(term, f"{at}.requiredDuringSchedulingIgnoredDuringExecution[{index}]")
    for index, each in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []):
        here = f"{at}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _weight(each, here)
        yield from _pod_term(each.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")


def _pod_term(term: Object, at: str) -> Iterator[FieldError]:
    yield from selector_errors(term.get("labelSelector"), f"{at}.labelSelector")
    for index, namespace in enumerate(term.get("namespaces") or []):
        yield from each_invalid(f"{at}.namespace[{index}]", namespace, names.label(namespace))
    key = term.get("topologyKey") or ""
    if not key:
        yield required(f"{at}.topologyKey", "can not be empty")
    else:
        yield from each_invalid(f"{at}.topologyKey", key, names.qualified(key))


def _spread(constraint: Object, at: str) -> Iterator[FieldError]:
    skew = constraint.get("maxSkew", 0)
    if skew <= 0:
        yield invalid(f"{at}.maxSkew", skew, "must be greater than zero")
    key = constraint.get("topologyKey") or ""
    if not key:
        yield required(f"{at}.topologyKey", "can not be empty")
    else:
        yield from each_invalid(f"{at}.topologyKey", key, names.qualified(key))
    yield from one_of(f"{at}.whenUnsatisfiable", constraint.get("whenUnsatisfiable"), _SPREADING)
    yield from selector_errors(constraint.get("labelSelector"), f"{at}.labelSelector")
