"""Create, update and delete for every kind: the rules of metadata, of status and of going away.

Called by the HTTP handlers, by patching and by subresources. Everything is decided on the newest state without
awaiting in between, so that two writers never both win.
"""

import uuid
from typing import Any

from clew.api.apply import track_update
from clew.api.kinds import EVENT, EVENTS_EVENT, NAMESPACE, POD, Kind
from clew.api.objects import Object, clone
from clew.base.clock import rfc3339
from clew.cluster.apiserver.errors import (
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from clew.cluster.apiserver.names import random_suffix
from clew.cluster.apiserver.state import State, Writer
from clew.cluster.apiserver.strategies import Strategies

_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def has_status(kind: Kind) -> bool:
    return "status" in kind.subresources


class Registry:
    """All writes of objects."""

    def __init__(self, state: State, strategies: Strategies) -> None:
        self.state = state
        self.strategies = strategies

    async def create(self, kind: Kind, namespace: str, obj: Object, writer: Writer) -> Object:
        """Store a new object; 409 where the name is taken, 422 where it is wrong."""
        obj = clone(obj)
        self._identify(kind, namespace, obj)
        meta = obj["metadata"]
        if has_status(kind):
            obj.pop("status", None)
        self.strategies.before_create(kind, obj)
        errors = self.strategies.validate_create(kind, obj)
        if errors:
            raise invalid(kind, meta["name"], errors)
        if kind.namespaced:
            self.state.check_namespace(kind, namespace, meta["name"])
        if self.state.latest(kind, namespace, meta["name"]) is not None:
            raise already_exists(kind, meta["name"])
        self.strategies.allocate(kind, None, obj, dry_run=writer.dry_run)
        obj = track_update(kind, None, obj, writer.manager, "Update", "", self.state.clock.now())
        if writer.dry_run:
            return obj
        try:
            stored = await self.state.write(kind, obj)
        except Exception:
            self.strategies.release(kind, obj)
            raise
        self.strategies.stored(kind, stored)
        return stored

    def _identify(self, kind: Kind, namespace: str, obj: Object) -> None:
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
        given: Any = obj.setdefault("metadata", {})
        if not isinstance(given, dict):
            raise bad_request("metadata must be an object")
        meta: Object = given
        if kind.namespaced:
            if meta.get("namespace") not in {None, "", namespace}:
                raise bad_request(
                    f"the namespace of the provided object does not match the namespace sent on the request"
                    f" ({meta['namespace']} != {namespace})"
                )
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName'][:58]}{random_suffix()}"
        for field in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            meta.pop(field, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = rfc3339(self.state.clock.now())
        meta.pop("generation", None)
        if "spec" in obj and kind not in {NAMESPACE, EVENT}:
            meta["generation"] = 1

    async def update(
        self, kind: Kind, namespace: str, name: str, obj: Object, writer: Writer, subresource: str = ""
    ) -> Object:
        """Replace an object, or only its status; 409 where the given resourceVersion is not the newest."""
        record = self.state.latest(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        old = record.decode()
        new = self._successor(kind, old, obj, subresource)
        given = new["metadata"].get("resourceVersion")
        if given and given != old["metadata"]["resourceVersion"]:
            raise conflict(kind, name)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        self.strategies.before_update(kind, new, old, subresource)
        errors = self.strategies.validate_update(kind, new, old, subresource)
        if errors:
            raise invalid(kind, name, errors)
        if _spec_of(new) != _spec_of(old) and "generation" in old["metadata"]:
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        if not subresource:
            self.strategies.allocate(kind, old, new, dry_run=writer.dry_run)
        new = track_update(kind, old, new, writer.manager, "Update", subresource, self.state.clock.now())
        if writer.dry_run or new == old:
            return new
        if _may_go(kind, new):
            return await self._remove(kind, new)
        stored = await self.state.write(kind, new)
        self.strategies.stored(kind, stored)
        return stored

    def _successor(self, kind: Kind, old: Object, obj: Object, subresource: str) -> Object:
        """What the new state is allowed to be: identity kept, status apart from the rest."""
        new: Object
        if subresource == "status":
            new = clone(old)
            if "status" in obj:
                new["status"] = clone(obj["status"])
            else:
                new.pop("status", None)
            meta = obj.get("metadata") or {}
            if meta.get("resourceVersion"):
                new["metadata"]["resourceVersion"] = meta["resourceVersion"]
            else:
                new["metadata"].pop("resourceVersion", None)
            return new
        new = clone(obj)
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        meta, before = new.setdefault("metadata", {}), old["metadata"]
        if meta.get("uid") not in {None, "", before["uid"]}:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
            raise conflict(kind, before["name"], why)
        for field in _KEPT:
            meta.pop(field, None)
            if field in before:
                meta[field] = before[field]
        meta["name"] = before["name"]
        if "namespace" in before:
            meta["namespace"] = before["namespace"]
        if "managedFields" not in meta and "managedFields" in before:
            meta["managedFields"] = clone(before["managedFields"])
        if has_status(kind):
            new.pop("status", None)
            if "status" in old:
                new["status"] = clone(old["status"])
        return new

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: Object, *, dry_run: bool
    ) -> tuple[Object, bool]:
        """Delete or begin to; returns the object and whether it is gone already."""
        record = self.state.latest(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        obj = record.decode()
        self._check_preconditions(kind, obj, options.get("preconditions") or {})
        meta = obj["metadata"]
        self._propagate(meta, options)
        grace = self._grace(kind, obj, options)
        finalizers = meta.get("finalizers") or (kind == NAMESPACE and obj["spec"].get("finalizers"))
        if not finalizers and not grace:
            if not dry_run:
                await self._remove(kind, obj)
            return obj, True
        already = "deletionTimestamp" in meta
        if already and (kind != POD or grace >= meta.get("deletionGracePeriodSeconds", 0)):
            if obj != record.decode() and not dry_run:
                await self.state.write(kind, obj)
            return obj, False
        moment = self.state.clock.now().timestamp() + grace
        meta["deletionTimestamp"] = rfc3339(self.state.clock.now().fromtimestamp(moment, self.state.clock.now().tzinfo))
        meta["deletionGracePeriodSeconds"] = grace
        if "generation" in meta:
            meta["generation"] += 1
        if kind == NAMESPACE:
            obj.setdefault("status", {})["phase"] = "Terminating"
        if not dry_run:
            await self.state.write(kind, obj)
        return obj, False

    def _check_preconditions(self, kind: Kind, obj: Object, wanted: Object) -> None:
        meta = obj["metadata"]
        for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            if wanted.get(field) and wanted[field] != meta[field]:
                told = f"{label} in precondition: {wanted[field]}, {label} in object meta: {meta[field]}"
                why = f"Precondition failed: {told}"
                raise conflict(kind, meta["name"], why)

    def _propagate(self, meta: Object, options: Object) -> None:
        policy = options.get("propagationPolicy") or ("Orphan" if options.get("orphanDependents") else "Background")
        finalizer = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy)
        if policy not in {"Foreground", "Orphan", "Background"}:
            raise bad_request(f'invalid propagationPolicy "{policy}": use Background, Foreground or Orphan')
        if finalizer and finalizer not in (meta.get("finalizers") or []):
            meta["finalizers"] = [*(meta.get("finalizers") or []), finalizer]

    def _grace(self, kind: Kind, obj: Object, options: Object) -> int:
        """Seconds before a pod is gone; 0 for everything else, and for pods that no kubelet has to stop."""
        if kind != POD:
            return 0
        spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in {"Succeeded", "Failed"}:
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(spec.get("terminationGracePeriodSeconds", 30) if asked is None else max(asked, 0))

    async def _remove(self, kind: Kind, obj: Object) -> Object:
        gone = await self.state.remove(kind, obj)
        self.strategies.release(kind, gone)
        self.strategies.removed(kind, gone)
        return gone

    async def finalize_namespace(self, name: str, obj: Object, writer: Writer) -> Object:
        """PUT namespaces/NAME/finalize: only spec.finalizers is taken; the namespace goes when none is left."""
        record = self.state.latest(NAMESPACE, "", name)
        if record is None:
            raise not_found(NAMESPACE, name)
        current = record.decode()
        current["spec"]["finalizers"] = (obj.get("spec") or {}).get("finalizers") or []
        if writer.dry_run:
            return current
        if _may_go(NAMESPACE, current):
            return await self._remove(NAMESPACE, current)
        return await self.state.write(NAMESPACE, current)


def _spec_of(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def _may_go(kind: Kind, obj: Object) -> bool:
    """An object on its way out whose last finalizer has been taken off."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if kind == NAMESPACE:
        return not obj["spec"].get("finalizers")
    return kind != POD or not meta.get("deletionGracePeriodSeconds")


def read_event(kind: Kind, obj: Object) -> Object:
    """An Event in the shape of the group it is asked from; both groups share one storage."""
    if kind != EVENTS_EVENT or "regarding" in obj:
        return obj
    shaped = {key: value for key, value in obj.items() if key not in {"involvedObject", "message", "source"}}
    shaped |= {
        "apiVersion": "events.k8s.io/v1", "regarding": obj.get("involvedObject", {}), "note": obj.get("message", ""),
        "deprecatedSource": obj.get("source", {}), "deprecatedCount": shaped.pop("count", 0),
        "deprecatedFirstTimestamp": shaped.pop("firstTimestamp", None),
        "deprecatedLastTimestamp": shaped.pop("lastTimestamp", None),
    }  # fmt: skip
    return shaped


def write_event(kind: Kind, obj: Object) -> Object:
    """The inverse of `read_event`: what comes to events.k8s.io is kept in the core group's shape."""
    if kind != EVENTS_EVENT:
        return obj
    kept = {key: value for key, value in obj.items() if not key.startswith("deprecated")}
    kept["involvedObject"] = kept.pop("regarding", {})
    kept["message"] = kept.pop("note", "")
    kept["source"] = obj.get("deprecatedSource") or {"component": obj.get("reportingController", "")}
    for field, old in (("count", "Count"), ("firstTimestamp", "FirstTimestamp"), ("lastTimestamp", "LastTimestamp")):
        if obj.get(f"deprecated{old}"):
            kept[field] = obj[f"deprecated{old}"]
    return kept
