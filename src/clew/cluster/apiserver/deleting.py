"""Deletion of every kind: at once, after a pod's grace, or when the last finalizer is taken off.

The rules of propagation are only noted here, as finalizers; the garbage collector acts on them.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

from clew.api.kinds import EVENT, NAMESPACE, POD, Kind
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import ApiRefusal, conflict, invalid_options, not_found
from clew.cluster.apiserver.state import State, Writer
from clew.cluster.apiserver.strategies import Strategies

_POLICIES = {"Foreground": "foregroundDeletion", "Orphan": "orphan", "Background": ""}
_AT_ONCE = 100  # deletions of a collection that share a batch of the storage
_ENDED = frozenset({"Succeeded", "Failed"})


class Deleter:
    """Takes objects out of storage, now or later. `kind` is always the stored one."""

    def __init__(self, state: State, strategies: Strategies) -> None:
        self.state = state
        self.strategies = strategies

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: Object, *, dry_run: bool = False
    ) -> tuple[Object, bool]:
        """Delete or begin to; returns the object and whether it is gone already."""
        check_options(options)
        record = self.state.latest(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        obj, before = record.decode(), record.decode()
        _check_preconditions(kind, obj, options.get("preconditions") or {})
        self.strategies.of(kind).check_delete(obj)
        if kind != EVENT:
            _propagate(obj["metadata"], options)
        if not self._mark(kind, obj, options):
            if not dry_run:
                await self.remove(kind, obj)
            return obj, True
        if obj != before and not dry_run:
            self.strategies.of(kind).stored(await self.state.write(kind, obj))
        return obj, False

    def _mark(self, kind: Kind, obj: Object, options: Object) -> bool:
        """Note that the object is going; False when nothing keeps it any longer."""
        meta = obj["metadata"]
        grace = _grace(obj, options) if kind == POD else 0
        kept = bool(meta.get("finalizers")) or (kind == NAMESPACE and bool((obj.get("spec") or {}).get("finalizers")))
        already = "deletionTimestamp" in meta
        if not grace and not kept:
            return False
        if already and grace >= meta.get("deletionGracePeriodSeconds", 0):
            return True  # a pending grace is only ever shortened
        meta["deletionTimestamp"] = rfc3339(self.state.clock.now() + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if not already and "generation" in meta:
            meta["generation"] += 1
        if kind == NAMESPACE:
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return True

    async def remove(self, kind: Kind, obj: Object) -> Object:
        """Out of storage for good."""
        gone = await self.state.remove(kind, obj)
        self.strategies.of(kind).removed(gone)
        return gone

    async def delete_all(
        self, kind: Kind, chosen: Iterable[tuple[str, str]], options: Object, writer: Writer
    ) -> list[Object]:
        """Delete (namespace, name) after (namespace, name); what went meanwhile is passed over."""
        todo = list(chosen)
        deleted: list[Object] = []
        for start in range(0, len(todo), _AT_ONCE):
            part = todo[start : start + _AT_ONCE]
            results = await asyncio.gather(
                *(self.delete(kind, *each, options, dry_run=writer.dry_run) for each in part), return_exceptions=True
            )
            for result in results:
                if isinstance(result, tuple):
                    deleted.append(result[0])
                elif not isinstance(result, ApiRefusal) or result.code != 404:
                    raise result
        return deleted

    async def finalize_namespace(self, name: str, obj: Object, writer: Writer) -> Object:
        """PUT namespaces/NAME/finalize: only spec.finalizers is taken; the namespace goes when none is left."""
        record = self.state.latest(NAMESPACE, "", name)
        if record is None:
            raise not_found(NAMESPACE, name)
        current = record.decode()
        given = (obj.get("metadata") or {}).get("resourceVersion")
        if given and given != current["metadata"]["resourceVersion"]:
            raise conflict(NAMESPACE, name)
        current["spec"] = {**(current.get("spec") or {}), "finalizers": (obj.get("spec") or {}).get("finalizers") or []}
        if writer.dry_run:
            return current
        if may_go(NAMESPACE, current):
            return await self.remove(NAMESPACE, current)
        return await self.state.write(NAMESPACE, current)


def may_go(kind: Kind, obj: Object) -> bool:
    """An object on its way out that nothing keeps any longer."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if kind == NAMESPACE:
        return not (obj.get("spec") or {}).get("finalizers")
    return kind != POD or not meta.get("deletionGracePeriodSeconds")


def check_options(options: Object) -> None:
    """422 for DeleteOptions that contradict themselves."""
    wrong: list[FieldError] = []
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        wrong.append(FieldError("propagationPolicy", "FieldValueInvalid", policy, why))
    elif policy is not None and policy not in _POLICIES:
        known = 'supported values: "Background", "Foreground", "Orphan", "nil"'
        wrong.append(FieldError("propagationPolicy", "FieldValueNotSupported", policy, known))
    wrong += [
        FieldError("dryRun", "FieldValueNotSupported", value, 'supported values: "All"')
        for value in options.get("dryRun") or ()
        if value != "All"
    ]
    if wrong:
        raise invalid_options("DeleteOptions", wrong)


def _check_preconditions(kind: Kind, obj: Object, wanted: Object) -> None:
    meta = obj["metadata"]
    if wanted.get("uid") and wanted["uid"] != meta["uid"]:
        why = f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({meta['uid']})."
        raise conflict(kind, meta["name"], f"{why} The object might have been deleted and then recreated")
    version = wanted.get("resourceVersion")
    if version and version != meta["resourceVersion"]:
        why = f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record"
        raise conflict(kind, meta["name"], f"{why} ({meta['resourceVersion']}). The object might have been modified")


def _propagate(meta: Object, options: Object) -> None:
    """What the client says about dependents, as the finalizers that the garbage collector reads."""
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        return
    others = [each for each in meta.get("finalizers") or () if each not in _POLICIES.values()]
    wanted = [*others, _POLICIES[policy]] if _POLICIES[policy] else others
    if wanted:
        meta["finalizers"] = wanted
    else:
        meta.pop("finalizers", None)


def _grace(pod: Object, options: Object) -> int:
    """Seconds before a pod is gone; 0 for one that no kubelet has to stop."""
    meta, spec, phase = pod["metadata"], pod.get("spec") or {}, (pod.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in _ENDED:
        return 0
    asked = options.get("gracePeriodSeconds")
    if asked is None:
        asked = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
    return int(asked) if asked >= 0 else 1
