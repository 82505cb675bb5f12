"""Server-side apply and the ownership of fields (KEP-555): who set what, and what goes when it is dropped.

Pure: objects in, a new object out. Called by the API server for every write.
"""

from datetime import datetime
from typing import Any

from clew.api.definitions import Node, node_for
from clew.api.fieldset import (
    UNKNOWN,
    FieldSet,
    Path,
    fields_of,
    from_paths,
    in_words,
    is_associative,
    item_key,
    leaves,
    look,
    remove,
)
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.base.clock import rfc3339

# nobody's: the server sets them
_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields",
         "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")  # fmt: skip


class ApplyConflict(Exception):  # noqa: N818 - the protocol's own word
    """Others own fields that the applied object would change; `causes` as metav1.StatusCause."""

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        self.causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": field}
            for owner, field in conflicts
        ]
        count = len(conflicts)
        noun = "conflict" if count == 1 else "conflicts"
        by_owner: dict[str, list[str]] = {}
        for owner, field in conflicts:
            by_owner.setdefault(owner, []).append(field)
        if count == 1:
            text = f"conflict with {conflicts[0][0]}: {conflicts[0][1]}"
        else:
            text = "\n".join(
                f"conflicts with {owner}:\n" + "\n".join(f"- {field}" for field in fields)
                for owner, fields in by_owner.items()
            )
        super().__init__(f"Apply failed with {count} {noun}: {text}")


def _root(kind: Kind) -> Node:
    return node_for(kind) or UNKNOWN


def _owned(obj: Object) -> Object:
    """The part of an object that can be owned."""
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _META}
    part = {key: value for key, value in obj.items() if key not in {"apiVersion", "kind", "metadata"}}
    return {"metadata": meta, **part} if meta else part


def _entries(obj: Object | None) -> list[Object]:
    return list(((obj or {}).get("metadata") or {}).get("managedFields") or [])


def server_side_apply(
    kind: Kind, current: Object | None, applied: Object, manager: str, now: datetime, *, force: bool
) -> Object:
    """`applied` merged into `current` under the name of `manager`; ApplyConflict unless `force`."""
    root = _root(kind)
    wanted = _owned(applied)
    mine = set(leaves(fields_of(root, wanted)))
    entries = _entries(current)
    if current is None:
        made: Object = clone(applied)
    else:
        _check(root, current, wanted, mine, entries, manager, force=force)
        made = _merged(root, clone(current), wanted)
        before = _paths_of(entries, manager, "Apply")
        others = {
            path
            for entry in entries
            if not _is(entry, manager, "Apply")
            for path in leaves(entry.get("fieldsV1") or {})
        }
        for path in sorted(before - mine, key=len, reverse=True):
            if path not in others and not any(path == other[: len(path)] for other in others | mine):
                remove(root, made, path)
    kept = _without_lost(root, current, wanted, entries) if current is not None else entries
    record = _entry(kind, manager, "Apply", from_paths(mine), "", now)
    unchanged = next((e for e in entries if _is(e, manager, "Apply") and e.get("fieldsV1") == record["fieldsV1"]), None)
    kept = [entry for entry in kept if not _is(entry, manager, "Apply")]
    made.setdefault("metadata", {})["managedFields"] = [unchanged or record, *kept]
    return made


def _is(entry: Object, manager: str, operation: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource")


def _paths_of(entries: list[Object], manager: str, operation: str) -> set[Path]:
    return {path for entry in entries if _is(entry, manager, operation) for path in leaves(entry.get("fieldsV1") or {})}


def _check(
    root: Node, current: Object, wanted: Object, mine: set[Path], entries: list[Object], manager: str, *, force: bool
) -> None:
    if force:
        return
    conflicts: list[tuple[str, str]] = []
    for entry in entries:
        if _is(entry, manager, "Apply"):
            continue
        for path in leaves(entry.get("fieldsV1") or {}):
            if path in mine and _differs(root, current, wanted, path):
                how = f" using {entry['apiVersion']}" if entry.get("operation") == "Update" else ""
                conflicts.append((f'"{entry["manager"]}"{how}', in_words(path)))
    if conflicts:
        raise ApplyConflict(sorted(set(conflicts)))


def _without_lost(root: Node, current: Object, wanted: Object, entries: list[Object]) -> list[Object]:
    """Others' entries less what a forced apply took from them; owning the same value together is no loss."""
    kept: list[Object] = []
    for entry in entries:
        paths = set(leaves(entry.get("fieldsV1") or {}))
        lost = {path for path in paths if _differs(root, current, wanted, path)}
        if not lost:
            kept.append(entry)
        elif paths - lost:
            kept.append({**entry, "fieldsV1": from_paths(paths - lost)})
    return kept


def _differs(root: Node, current: Object, wanted: Object, path: Path) -> bool:
    value, there = look(root, wanted, path)
    return there and path[-1][:2] == "f:" and (value, True) != look(root, current, path)


def _merged(node: Node, current: Any, wanted: Any) -> Any:
    """`wanted` laid over `current`, lists merged by their keys."""
    if isinstance(wanted, dict) and isinstance(current, dict) and not node.is_atomic:
        for field, value in wanted.items():
            child = node.child(field) or UNKNOWN
            current[field] = _merged(child, current[field], value) if field in current else clone(value)
        return current
    if isinstance(wanted, list) and isinstance(current, list) and is_associative(node):
        places = {item_key(node, item): at for at, item in enumerate(current)}
        for item in wanted:
            at = places.get(item_key(node, item))
            if at is None:
                current.append(clone(item))
            else:
                current[at] = _merged(node.items or UNKNOWN, current[at], item)
        return current
    return clone(wanted)


def _entry(kind: Kind, manager: str, operation: str, fields: FieldSet, subresource: str, now: datetime) -> Object:
    entry: Object = {
        "manager": manager, "operation": operation, "apiVersion": kind.api_version,
        "time": rfc3339(now), "fieldsType": "FieldsV1", "fieldsV1": fields,
    }  # fmt: skip
    if subresource:
        entry["subresource"] = subresource
    return entry


def track_update(  # noqa: PLR0913 - who changed what, through which door, and when
    kind: Kind, before: Object | None, after: Object, manager: str, operation: str, subresource: str, now: datetime
) -> Object:
    """`after` with managedFields that say what this write set; an object whose client emptied them is tracked anew."""
    root = _root(kind)
    made = dict(after)
    meta = made["metadata"] = dict(made["metadata"])
    entries = _entries(after)
    if before is None and entries:
        return made  # created by apply, which has said already what it owns
    old, new = _owned(before or {}), _owned(after)
    if subresource != "status":
        old.pop("status", None)
        new.pop("status", None)
    if before is not None and old == new:
        return made
    if _is_applied(before, after):
        return made
    new_paths, old_paths = set(leaves(fields_of(root, new))), set(leaves(fields_of(root, old)))
    changed = {path for path in new_paths if path not in old_paths or look(root, new, path) != look(root, old, path)}
    gone = old_paths - new_paths
    kept: list[Object] = []
    mine: set[Path] = set()
    for entry in entries:
        paths = set(leaves(entry.get("fieldsV1") or {})) - gone
        if (
            entry.get("manager") == manager
            and entry.get("operation") == operation
            and entry.get("subresource", "") == subresource
        ):
            mine = paths
            continue
        paths -= changed
        if paths:
            kept.append({**entry, "fieldsV1": from_paths(paths)})
    mine |= changed
    if mine:
        kept.append(_entry(kind, manager, operation, from_paths(mine), subresource, now))
    meta["managedFields"] = kept
    return made


def _is_applied(before: Object | None, after: Object) -> bool:
    """Whether `server_side_apply` made this change: then the entries differ already."""
    fresh = {_signature(entry) for entry in _entries(after)} - {_signature(entry) for entry in _entries(before)}
    return any(operation == "Apply" for _, operation, _ in fresh)


def _signature(entry: Object) -> tuple[str, str, str]:
    return entry.get("manager", ""), entry.get("operation", ""), repr(entry.get("fieldsV1"))
