"""Empties a namespace that is being deleted, then lets it go. Called by run.py.

Pods go first and are waited for (KEP-5080), so that what protects them while they stop is still there; then everything
else of every kind served, custom resources included. What holds it up is shown on the namespace's conditions.
"""

from collections.abc import Iterable, Mapping

from clew.api.conditions import with_condition
from clew.api.kinds import NAMESPACE, POD, Kind
from clew.api.objects import Key, Object, clone, dig, is_deleting, metadata, name_of
from clew.base.clock import rfc3339
from clew.base.value import Value
from clew.cluster.controllers.context import Context
from clew.cluster.controllers.served import served_kinds
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

FINALIZER = "kubernetes"
SOON, LATEST = 0.2, 5.0  # seconds between two looks at what still holds a namespace up


class Findings(Value):
    """What one round found. Counts by `plural.group`, and by finalizer."""

    discovery: str = ""
    failures: tuple[str, ...] = ()
    remaining: Mapping[str, int] = {}
    finalizers: Mapping[str, int] = {}


class NamespaceController:
    """Keys are namespaces."""

    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._namespaces = context.informers.of(NAMESPACE)
        self._wait: dict[str, float] = {}
        self.queue: WorkQueue[Key] = WorkQueue("namespace", pace=0.1)
        self._namespaces.subscribe(self._on_namespace)

    def _on_namespace(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._wait.pop(name_of(before or {}), None)
        elif is_deleting(after) and (before is None or not is_deleting(before)):
            self.queue.add(("", name_of(after)))

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get("", key[1])
        if namespace is None or not is_deleting(namespace):
            return None
        if FINALIZER not in (dig(namespace, "spec", "finalizers") or ()):
            return None
        findings = await self._empty(key[1])
        if findings.remaining or findings.failures or findings.discovery:
            await self._report(namespace, findings)
            wait = self._wait[key[1]] = min(LATEST, self._wait.get(key[1], SOON / 2) * 2)
            return wait
        await self._finalize(namespace)
        return None

    async def _empty(self, name: str) -> Findings:
        first = await self._clear(name, [POD])
        if first.remaining or first.failures:
            return first
        try:
            kinds = await served_kinds(self._client)
        except ApiError as error:
            return Findings(discovery=error.message)
        return await self._clear(name, (kind for kind in kinds if kind.namespaced and "delete" in kind.verbs))

    async def _clear(self, name: str, kinds: Iterable[Kind]) -> Findings:
        """Delete all of these kinds in the namespace and look what stays."""
        failures: list[str] = []
        remaining: dict[str, int] = {}
        finalizers: dict[str, int] = {}
        for kind in kinds:
            if "list" not in kind.verbs:
                continue
            try:
                left = await self._clear_kind(name, kind)
            except ApiError as error:
                if not error.not_found:  # a kind may go away in the meantime
                    failures.append(f"{kind.plural}: {error.message}")
                continue
            if left:
                remaining[f"{kind.plural}.{kind.group}"] = len(left)
            for obj in left:
                for finalizer in metadata(obj).get("finalizers") or ():
                    finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
        return Findings("", tuple(failures), remaining, finalizers)

    async def _clear_kind(self, name: str, kind: Kind) -> list[Object]:
        found = (await self._client.list(kind, name)).items
        if not found:
            return []
        if "deletecollection" in kind.verbs:
            await self._client.delete_collection(kind, name)
        else:
            for obj in found:
                await self._delete(kind, obj, name)
        return (await self._client.list(kind, name)).items

    async def _delete(self, kind: Kind, obj: Object, namespace: str) -> None:
        try:
            await self._client.delete(kind, name_of(obj), namespace)
        except ApiError as error:
            if not error.not_found:
                raise

    async def _report(self, namespace: Object, findings: Findings) -> None:
        now = rfc3339(self._clock.now())
        old = dig(namespace, "status", "conditions")
        new = list(old or ())
        for each in conditions(findings):
            new = with_condition(new, each, now)
        if new == old:
            return
        body = {"metadata": {"uid": metadata(namespace)["uid"]}, "status": {"conditions": new}}
        await self._client.patch(NAMESPACE, name_of(namespace), body, subresource="status")

    async def _finalize(self, namespace: Object) -> None:
        try:
            fresh = await self._client.get(NAMESPACE, name_of(namespace))
            if metadata(fresh).get("uid") != metadata(namespace).get("uid"):
                return
            changed = clone(fresh)
            changed["spec"]["finalizers"] = [
                each for each in fresh["spec"].get("finalizers") or () if each != FINALIZER
            ]
            await self._client.update(NAMESPACE, changed, "finalize")
        except ApiError as error:
            if not error.not_found:
                raise


def conditions(findings: Findings) -> list[Object]:
    """What holds the deletion up, in the five conditions and the words of kube-controller-manager. Pure."""
    counts = [f"{resource} has {count} resource instances" for resource, count in sorted(findings.remaining.items())]
    held = [f"{name} in {count} resource instances" for name, count in sorted(findings.finalizers.items())]
    rows = (
        (
            "NamespaceDeletionDiscoveryFailure", findings.discovery,
            ("DiscoveryFailed", "ResourcesDiscovered"), "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure", "",
            ("GroupVersionParsingFailed", "ParsedGroupVersions"), "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            f"Failed to delete all resource types, {len(findings.failures)} remaining: {', '.join(findings.failures)}"
            if findings.failures else "",
            ("ContentDeletionFailed", "ContentDeleted"),
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            f"Some resources are remaining: {', '.join(counts)}" if counts else "",
            ("SomeResourcesRemain", "ContentRemoved"), "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            f"Some content in the namespace has finalizers remaining: {', '.join(held)}" if held else "",
            ("SomeFinalizersRemain", "ContentHasNoFinalizers"), "All content-preserving finalizers finished",
        ),
    )  # fmt: skip
    return [
        {
            "type": type_,
            "status": "True" if trouble else "False",
            "reason": reasons[0] if trouble else reasons[1],
            "message": trouble or fine,
        }
        for type_, trouble, reasons, fine in rows
    ]
