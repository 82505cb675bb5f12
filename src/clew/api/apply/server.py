"""Server-side apply: one manager's view of an object merged into the object."""

import json
from datetime import datetime

from clew.api import shapes
from clew.api.apply.conflict import ApplyConflict, ApplyError
from clew.api.apply.fields import FieldSet, Path, contains, copied, from_paths, paths
from clew.api.apply.managers import Managed, Manager, Owned, manager_of, ownable, read, stamp, without, written
from clew.api.apply.values import Difference, MismatchError, difference, fields_of, merged, remove, without_nulls
from clew.api.kinds import Kind
from clew.api.objects import Object, annotations, clone, key_of
from clew.api.shapes import Shape

_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def server_side_apply(  # noqa: PLR0913 - an apply request has this many sides
    kind: Kind,
    current: Object | None,
    applied: Object,
    manager: str,
    now: datetime,
    *,
    force: bool = False,
    subresource: str = "",
    shape: Shape | None = None,
) -> Object:
    """`applied` merged into `current` (None: it does not exist yet) under the name of `manager`, as a new object.

    `shape` describes a custom kind (`shapes.of_schema`); without it, its maps merge and its lists are one value each.
    Raises ApplyConflict unless `force`; ApplyError for an object that does not fit its kind.
    """
    root = shape or shapes.of_kind(kind) or shapes.ANY
    mine = manager_of(kind, manager, "Apply", subresource)
    wanted = _view(applied, kind, subresource)
    try:
        named = fields_of(root, wanted)
    except MismatchError as wrong:
        raise ApplyError(500, _mismatch(kind, applied, wrong)) from None
    managed = read(current)
    before = managed.get(mine)
    live = clone(current) if current is not None else {}
    made: Object = merged(root, clone(live), wanted) if current is not None else _first(applied, wanted)
    managed[mine] = Owned(named, before.time if before else "")
    if before:
        _prune(root, made, before.fields, managed)
    changes = difference(root, ownable(live), ownable(made))
    managed = _taken(kind, managed, mine, changes, allowed=_allowed(root, live, mine), force=force)
    same = before is not None and before.fields == named and not _any(changes)
    if not same:
        managed[mine] = Owned(named, stamp(now))
    _sync_last_applied(made, applied, manager, live)
    made["apiVersion"], made["kind"] = kind.api_version, kind.kind
    made.setdefault("metadata", {})["managedFields"] = written(managed)
    return made


def _view(applied: Object, kind: Kind, subresource: str) -> Object:
    """The part of an applied object that this endpoint heeds: the status has one of its own."""
    wanted = ownable(applied)
    if subresource == "status":
        return {"metadata": {}, **({"status": wanted["status"]} if "status" in wanted else {})}
    if "status" in kind.subresources:
        wanted.pop("status", None)
    return wanted


def _first(applied: Object, wanted: Object) -> Object:
    """A new object: its identity as given, the rest as far as this endpoint heeds it."""
    made: Object = without_nulls({name: applied[name] for name in applied if name in {*wanted, "apiVersion", "kind"}})
    return made


def _mismatch(kind: Kind, applied: Object, wrong: MismatchError) -> str:
    namespace, name = key_of(applied)
    where = f"{namespace}/{name}; {kind.api_version}, Kind={kind.kind}"
    return f"failed to create typed patch object ({where}): {wrong}"


def _any(changes: Difference) -> bool:
    return bool(changes.added or changes.modified or changes.removed)


def _prefixes(fields: FieldSet) -> set[Path]:
    """Members and all that leads to them, but for metadata, which no object can be without."""
    found = {path[:end] for path in paths(fields) for end in range(1, len(path) + 1)}
    found.discard(("f:metadata",))
    return found


def _prune(root: Shape, made: Object, before: FieldSet, managed: Managed) -> None:
    """What this manager applied last time, does not apply now, and nobody else owns, goes."""
    kept: set[Path] = set()
    for owned in managed.values():
        kept |= _prefixes(owned.fields)
    for path in sorted(_prefixes(before) - kept, key=len):
        remove(root, made, path)


def _taken(
    kind: Kind, managed: Managed, mine: Manager, changes: Difference, *, allowed: FieldSet, force: bool
) -> Managed:
    """The managers after the changes: others lose what was changed by force or removed. ApplyConflict otherwise."""
    touched = [*changes.added, *changes.modified]
    others = {each: owned for each, owned in managed.items() if each != mine and each.api_version == kind.api_version}
    conflicts = [(each, path) for each, owned in others.items() for path in touched if contains(owned.fields, path)]
    if not force and any(not contains(allowed, path) for _, path in conflicts):
        raise ApplyConflict([pair for pair in conflicts if not contains(allowed, pair[1])])
    made = dict(managed)
    for each, owned in others.items():
        left = without(owned, [*touched, *changes.removed])
        if left is None:
            del made[each]
        else:
            made[each] = left
    return made


def _allowed(root: Shape, live: Object, mine: Manager) -> FieldSet:
    """Fields that kubectl may take over unasked: what its client-side apply set and nobody changed since."""
    text = annotations(live).get(_LAST_APPLIED)
    if mine.name != _KUBECTL or not text:
        return {}
    try:
        last = json.loads(text)
        fields = copied(fields_of(root, ownable(last)))
    except ValueError:
        return {}
    changed = difference(root, ownable(last), ownable(live))
    lost = {*changed.modified, *changed.removed}
    return from_paths(path for path in paths(fields) if path not in lost)


def _sync_last_applied(made: Object, applied: Object, manager: str, live: Object) -> None:
    """Keep client-side apply's annotation true while kubectl applies on the server, so that users can go back."""
    if manager != _KUBECTL or _LAST_APPLIED not in annotations(live) or _LAST_APPLIED in annotations(applied):
        return
    copy = clone(applied)
    copy.get("metadata", {}).pop("managedFields", None)
    made["metadata"].setdefault("annotations", {})[_LAST_APPLIED] = json.dumps(copy, separators=(",", ":")) + "\n"
