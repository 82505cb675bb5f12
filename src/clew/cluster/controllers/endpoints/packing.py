"""Wanted endpoints against existing slices: which slices to create, change and delete, so that few change. Pure.

The rules are the EndpointSlice controller's: what stays stays where it is; what is new goes into slices that change
anyway, then into one that has room, then into new ones; slices that become empty go. The wanted endpoints of one
group (address type and ports) are spread over its slices without overlap: a partition.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from clew.api.objects import Object, annotations, clone, labels, metadata, name_of
from clew.base.value import Value

MOST = 100  # endpoints a slice


class Group(Value):
    """What slices of one kind hold: an address type, the ports, the endpoints."""

    address_type: str
    ports: list[Object]
    endpoints: list[Object]


class Frame(Value):
    """What all slices of one owner have in common; `like` is the start of a new one."""

    like: Object  # apiVersion, kind, metadata with generateName, namespace, ownerReferences
    labels: dict[str, str]
    annotations: dict[str, str]
    own_annotations: frozenset[str] = frozenset()  # ours alone: replaced, not merged


class Changes(Value):
    create: list[Object]
    update: list[Object]
    delete: list[Object]

    @property
    def nothing(self) -> bool:
        return not (self.create or self.update or self.delete)


def pack(groups: Sequence[Group], existing: Sequence[Object], frame: Frame, most: int = MOST) -> Changes:
    """The changes that make `existing` hold exactly `groups`; a slice whose group is not wanted is deleted.

    A group without endpoints keeps one empty slice, and gets one: consumers learn that the service is known.
    """
    by_group: dict[Hashable, list[Object]] = {}
    for each in existing:
        by_group.setdefault(_group_key(each.get("addressType"), each.get("ports")), []).append(each)
    changes = Changes([], [], [])
    for group in groups:
        present = by_group.pop(_group_key(group.address_type, group.ports), [])
        _pack_group(group, sorted(present, key=name_of), frame, changes, most)
    for stale in by_group.values():
        changes.delete.extend(stale)
    _reuse(changes)
    return changes


def _reuse(changes: Changes) -> None:
    """One slice to delete and one of its address type to create are one to change."""
    for made in list(changes.create):
        for stale in changes.delete:
            if stale["addressType"] == made["addressType"]:
                changes.delete.remove(stale)
                changes.create.remove(made)
                changed = clone(stale)
                changed.update({field: made[field] for field in ("endpoints", "ports")})
                changed["metadata"]["labels"] = made["metadata"]["labels"]
                changed["metadata"]["annotations"] = made["metadata"].get("annotations", {})
                changes.update.append(changed)
                break


def _pack_group(group: Group, present: list[Object], frame: Frame, changes: Changes, most: int) -> None:
    wanted = {_identity(each): each for each in group.endpoints}
    contents: list[tuple[Object, list[Object], bool]] = []
    for each in present:
        kept, changed = _keep(each, wanted, frame)
        contents.append((each, kept, changed))
    left = list(wanted.values())
    # First into what is written anyway, then into the fullest that has room for all, then into new ones.
    order = sorted(range(len(contents)), key=lambda index: (not contents[index][2], -len(contents[index][1])))
    for index in order:
        each, kept, changed = contents[index]
        if not left or (not changed and len(kept) + len(left) > most):
            continue
        room = most - len(kept)
        contents[index] = (each, kept + left[:room], changed or room > 0)
        left = left[room:]
    _note(contents, group, frame, changes, full=bool(left))
    while left:
        changes.create.append(_made(frame, group, left[:most]))
        left = left[most:]
    if not group.endpoints and not present:
        changes.create.append(_made(frame, group, []))


def _note(
    contents: list[tuple[Object, list[Object], bool]], group: Group, frame: Frame, changes: Changes, *, full: bool
) -> None:
    """Sort the slices that exist into changed, deleted and left alone; one empty one may stay."""
    keeps_one = full or any(kept for _, kept, _ in contents)
    for each, kept, changed in contents:
        if not kept:
            if keeps_one:
                changes.delete.append(each)
                continue
            keeps_one = True
        if changed:
            changes.update.append(_changed(each, frame, group, kept))


def _keep(each: Object, wanted: dict[Hashable, Object], frame: Frame) -> tuple[list[Object], bool]:
    """The slice's endpoints that are still wanted, as they should be now (taken from `wanted`), and if it changes."""
    kept: list[Object] = []
    changed = not _dressed(each, frame)
    for old in each.get("endpoints") or ():
        new = wanted.pop(_identity(old), None)
        if new is None:
            changed = True
            continue
        kept.append(new)
        changed = changed or not _same(old, new)
    return kept, changed


def _dressed(each: Object, frame: Frame) -> bool:
    return dict(labels(each)) == frame.labels and metadata(each).get("ownerReferences") == frame.like["metadata"].get(
        "ownerReferences"
    )


def _changed(each: Object, frame: Frame, group: Group, endpoints: list[Object]) -> Object:
    changed: Object = clone(each)
    changed["endpoints"] = endpoints
    changed["ports"] = group.ports
    changed["metadata"]["labels"] = dict(frame.labels)
    changed["metadata"]["ownerReferences"] = frame.like["metadata"].get("ownerReferences")
    kept = {name: text for name, text in annotations(each).items() if name not in frame.own_annotations}
    changed["metadata"]["annotations"] = kept | frame.annotations
    return changed


def _made(frame: Frame, group: Group, endpoints: list[Object]) -> Object:
    made: Object = clone(frame.like)
    made["metadata"]["labels"] = dict(frame.labels)
    if frame.annotations:
        made["metadata"]["annotations"] = dict(frame.annotations)
    made |= {"addressType": group.address_type, "ports": group.ports, "endpoints": endpoints}
    return made


def _identity(endpoint: Mapping[str, Any]) -> Hashable:
    reference = endpoint.get("targetRef") or {}
    return tuple(endpoint.get("addresses") or ()), reference.get("uid") or reference.get("name")


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Equal as the API sees them: what is empty may be absent."""
    return {k: v for k, v in old.items() if v not in (None, "", [], {})} == {
        k: v for k, v in new.items() if v not in (None, "", [], {})
    }


def _group_key(address_type: object, ports: Sequence[Mapping[str, Any]] | None) -> Hashable:
    found = (
        (str(each.get("name") or ""), each.get("protocol") or "TCP", each.get("port"), each.get("appProtocol") or "")
        for each in ports or ()
    )
    return address_type, tuple(sorted(found, key=str))
