"""Whether a node is one that a pod may or would rather run on: nodeSelector and node affinity. Pure.

Used by DaemonSets and by the scheduler.
"""

from collections.abc import Mapping
from typing import Any

from clew.api.objects import dig, labels, name_of

Node = Mapping[str, Any]
_PREFERRED = ("affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution")
_REQUIRED = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


def matches(pod_spec: Mapping[str, Any], node: Node) -> bool:
    """NodeSelector and the required terms, of which one must hold."""
    selector = pod_spec.get("nodeSelector")
    if selector and not selector.items() <= labels(node).items():
        return False
    terms = dig(pod_spec, *_REQUIRED)
    return terms is None or any(_term(term, node) for term in terms)


def preference(pod_spec: Mapping[str, Any], node: Node) -> int:
    """The weights of the preferred terms that hold, added up."""
    preferred = dig(pod_spec, *_PREFERRED) or ()
    return sum(int(each.get("weight") or 0) for each in preferred if _term(each.get("preference") or {}, node))


def pinned(pod_spec: Mapping[str, Any]) -> str:
    """The one node that every required term names by metadata.name, as DaemonSet pods are bound; "" for others."""
    found = set()
    for term in dig(pod_spec, *_REQUIRED) or ():
        names = [
            each["values"][0]
            for each in term.get("matchFields") or ()
            if each.get("key") == "metadata.name" and each.get("operator") == "In" and len(each["values"]) == 1
        ]
        found.add(names[0] if names else "")
    return found.pop() if len(found) == 1 else ""


def _term(term: Mapping[str, Any], node: Node) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False  # an empty term selects nothing
    own = labels(node)
    return all(_holds(each, own.get(each["key"])) for each in expressions) and all(
        _holds(each, name_of(node) if each["key"] == "metadata.name" else None) for each in fields
    )


def _holds(expression: Mapping[str, Any], value: str | None) -> bool:
    values = expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return _compared(operator, value, values)
    return False


def _compared(operator: str, value: str | None, values: Any) -> bool:
    try:
        number, bound = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound
