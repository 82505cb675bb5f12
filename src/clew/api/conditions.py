"""The conditions of an object's status: found by type, set so that the transition time tells the truth. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from clew.api.objects import Object, dig

Condition = dict[str, Any]


def condition(obj: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """The condition of that type in `.status.conditions`, or None."""
    return find(dig(obj, "status", "conditions"), type_)


def find(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> Mapping[str, Any] | None:
    for each in conditions or ():
        if each.get("type") == type_:
            return each
    return None


def is_true(obj: Mapping[str, Any], type_: str) -> bool:
    found = condition(obj, type_)
    return found is not None and found.get("status") == "True"


def with_condition(conditions: Iterable[Mapping[str, Any]] | None, new: Mapping[str, Any], now: str) -> list[Object]:
    """The list with `new` in place of the condition of its type; one that says nothing new changes nothing.

    `lastTransitionTime` moves only when the status does, `lastUpdateTime` (where the kind has it, so given in `new`)
    whenever anything does. `now` is metav1.Time.
    """
    found = [dict(each) for each in conditions or ()]
    for index, old in enumerate(found):
        if old.get("type") != new["type"]:
            continue
        if all(old.get(field) == new.get(field) for field in ("status", "reason", "message")):
            return found
        same = old.get("status") == new["status"]
        found[index] = {**new, "lastTransitionTime": old.get("lastTransitionTime", now) if same else now}
        return found
    return [*found, {**new, "lastTransitionTime": now}]


def without_condition(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> list[Object]:
    return [dict(each) for each in conditions or () if each.get("type") != type_]


def parse_time(text: str | None) -> datetime | None:
    """A metav1.Time or MicroTime; None for nothing."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
