"""Ownership of what creates, replaces and patches set: the manager that wrote a field has it, the others lose it."""

from datetime import datetime
from typing import Any

from clew.api import shapes
from clew.api.apply.fields import add, copied
from clew.api.apply.managers import (
    Managed,
    Manager,
    Operation,
    Owned,
    cap_updaters,
    manager_of,
    ownable,
    read,
    stamp,
    without,
    written,
)
from clew.api.apply.values import difference, everything
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.api.shapes import Shape

# Go's structs are there before anybody sets them, so that creating an object does not own them as a whole
SEED: Object = {
    "metadata": {},
    "spec": {
        "template": {"metadata": {}, "spec": {"containers": None}},
        "strategy": {}, "updateStrategy": {}, "containers": None, "names": {},
    },
    "status": {"loadBalancer": {}, "nodeInfo": {}},
}  # fmt: skip


def track_update(  # noqa: PLR0913, PLR0917 - who changed what, through which door, and when
    kind: Kind,
    before: Object | None,
    after: Object,
    manager: str,
    operation: Operation,
    subresource: str,
    now: datetime,
    *,
    shape: Shape | None = None,
) -> Object:
    """A copy of `after` with managedFields that say what this write set; `before` is None for a new object.

    With the operation "Apply" the object comes from `server_side_apply`, which has told them. A client may send
    managedFields back, or reset them with a single empty entry; a list that is absent or unreadable changes nothing.
    """
    made = dict(after)
    meta = made["metadata"] = dict(made.get("metadata") or {})
    if operation == "Apply":
        return made
    root = shape or shapes.of_kind(kind) or shapes.ANY
    mine = manager_of(kind, manager, operation, subresource)
    if before is None and not meta.get("managedFields"):
        new = ownable(made)
        fields = everything(root, new, _seeded(SEED, new))
        kept: Managed = {mine: Owned(fields, stamp(now))} if fields else {}
    else:
        kept = _shared(root, before, after, mine, now)
    if kept:
        meta["managedFields"] = written(cap_updaters(kept))
    else:
        meta.pop("managedFields", None)
    return made


def _shared(root: Shape, before: Object | None, after: Object, mine: Manager, now: datetime) -> Managed:
    """Who owns what once `mine` has written `after`: the others lose what it set or took away."""
    old, new = ownable(before), ownable(after)
    changes = difference(root, old if before is not None else _seeded(SEED, new), new)
    touched = [*changes.added, *changes.modified]
    kept: Managed = {}
    for each, owned in _starting_point(before, after, mine.subresource).items():
        lost = changes.removed if each == mine else [*touched, *changes.removed]
        left = without(owned, lost) if each.api_version == mine.api_version else owned
        if left is not None:
            kept[each] = left
    fields = copied(kept[mine].fields) if mine in kept else {}
    for path in touched:
        if path and path != ("f:metadata",):
            add(fields, path)
    if touched and fields:
        kept[mine] = Owned(fields, stamp(now))
    return kept


def _starting_point(before: Object | None, after: Object, subresource: str) -> Managed:
    given = (after.get("metadata") or {}).get("managedFields")
    if subresource:
        return read(before)
    if given == [{}]:
        return {}
    return read(after) or read(before)


def _seeded(seed: Any, new: Any) -> Any:
    """The part of the seed that the new object has as well."""
    if not isinstance(seed, dict) or not isinstance(new, dict):
        return seed
    return {name: _seeded(inner, new[name]) for name, inner in seed.items() if name in new}
