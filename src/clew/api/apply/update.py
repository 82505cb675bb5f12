"""Ownership of what creates, replaces and patches set: the manager that wrote a field has it, the others lose it."""

from datetime import datetime
from typing import Any

from clew.api import shapes
from clew.api.apply.fields import add, copied
from clew.api.apply.managers import (
    Managed,
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
from clew.api.apply.values import difference
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

    With the operation "Apply" the object comes from `server_side_apply` and is told already. A client may send
    managedFields back, or reset them with a single empty entry; a list that is absent or unreadable changes nothing.
    """
    made = dict(after)
    meta = made["metadata"] = dict(made.get("metadata") or {})
    if operation == "Apply" or _is_applied(before, after):
        return made
    managed = _starting_point(before, after, subresource)
    root = shape or shapes.of_kind(kind) or shapes.ANY
    old, new = ownable(before), ownable(after)
    if before is None:
        old = _seeded(SEED, new)
    changes = difference(root, old, new)
    touched = [*changes.added, *changes.modified]
    mine = manager_of(kind, manager, operation, subresource)
    kept: Managed = {}
    for each, owned in managed.items():
        lost = changes.removed if each == mine else [*touched, *changes.removed]
        left = without(owned, lost) if each.api_version == kind.api_version else owned
        if left is not None:
            kept[each] = left
    if touched:
        fields = copied(kept[mine].fields) if mine in kept else {}
        for path in touched:
            if path and path != ("f:metadata",):
                add(fields, path)
        if fields:
            kept[mine] = Owned(fields, stamp(now))
    if kept:
        meta["managedFields"] = written(cap_updaters(kept))
    else:
        meta.pop("managedFields", None)
    return made


def _is_applied(before: Object | None, after: Object) -> bool:
    """Whether an applier's entry is new: then server_side_apply made this object, whoever passes it on."""
    known = read(before)
    return any(
        manager.operation == "Apply" and (manager not in known or known[manager] != owned)
        for manager, owned in read(after).items()
    )


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
