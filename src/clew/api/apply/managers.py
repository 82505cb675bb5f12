"""metadata.managedFields: who owns which fields of an object, entry by entry."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from clew.api.apply.fields import FieldSet, Path, contains, copied, discard, union
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.base.value import Value

Operation = Literal["Apply", "Update"]
_MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"

# the server's own fields: nobody owns them
_UNOWNED = frozenset({
    "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink",
    "clusterName",
})  # fmt: skip


class Manager(Value):
    """Who writes: a name, an operation, and the subresource by which the object is reached ("" for itself)."""

    name: str
    operation: Operation
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As conflicts name it: `"kubectl-client-side-apply" using apps/v1`."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class Owned(msgspec.Struct):
    """What a manager owns, and since when (RFC 3339)."""

    fields: FieldSet
    time: str


Managed = dict[Manager, Owned]


def ownable(obj: Object | None) -> Object:
    """The part of an object that managers own; always with a metadata, which is nobody's itself."""
    obj = obj or {}
    meta = {name: value for name, value in (obj.get("metadata") or {}).items() if name not in _UNOWNED}
    rest = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    return {"metadata": meta, **rest}


def read(obj: Object | None) -> Managed:
    """The entries of an object. Entries that cannot be read are dropped, as the API server drops them."""
    entries = ((obj or {}).get("metadata") or {}).get("managedFields") or []
    made: Managed = {}
    for entry in entries:
        fields = entry.get("fieldsV1")
        if isinstance(fields, dict) and entry.get("operation") in ("Apply", "Update"):
            manager = Manager(
                entry.get("manager", ""), entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", "")
            )
            made[manager] = Owned(fields, entry.get("time", ""))
    return made


def written(managed: Managed) -> list[Object]:
    """The entries as they are stored: appliers first, then by time."""
    made = []
    for manager, owned in sorted(managed.items(), key=_place):
        entry: Object = {
            "manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version,
            "time": owned.time, "fieldsType": "FieldsV1", "fieldsV1": owned.fields,
        }  # fmt: skip
        if manager.subresource:
            entry["subresource"] = manager.subresource
        made.append(entry)
    return made


def _place(pair: tuple[Manager, Owned]) -> tuple[Any, ...]:
    manager, owned = pair
    return manager.operation, owned.time, manager.name, manager.subresource


def manager_of(kind: Kind, name: str, operation: Operation, subresource: str) -> Manager:
    return Manager(name, operation, kind.api_version, subresource)


def without(owned: Owned, lost: list[Path]) -> Owned | None:
    """What is left of a manager's fields; None where nothing is. The same value where nothing was lost."""
    hits = [path for path in lost if contains(owned.fields, path)]
    if not hits:
        return owned
    fields = copied(owned.fields)
    for path in hits:
        discard(fields, path)
    return Owned(fields, owned.time) if fields else None


def cap_updaters(managed: Managed) -> Managed:
    """At most ten managers that update; the oldest are merged into one called `ancient-changes`."""
    updaters = sorted((pair for pair in managed.items() if _is_foldable(pair[0])), key=_place)
    surplus = len(updaters) - _MOST_UPDATERS
    if surplus <= 0:
        return managed
    made = dict(managed)
    for manager, owned in updaters[: surplus + 1]:
        del made[manager]
        ancient = Manager(_ANCIENT, "Update", manager.api_version)
        before = made.get(ancient)
        made[ancient] = Owned(_united(before, owned), owned.time)
    return made


def _is_foldable(manager: Manager) -> bool:
    return manager.operation == "Update" and not manager.subresource


def _united(before: Owned | None, owned: Owned) -> FieldSet:
    return union(before.fields, owned.fields) if before else owned.fields


def stamp(now: datetime) -> str:
    return rfc3339(now)
