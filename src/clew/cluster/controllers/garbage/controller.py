"""Deletes what outlived its owners, frees what is to be orphaned, ends foreground deletions. Called by run.py."""

from collections import OrderedDict

from clew.api.kinds import Kind
from clew.api.objects import Object, metadata
from clew.cluster.controllers.context import Context
from clew.cluster.controllers.garbage.graph import FOREGROUND, ORPHAN, Graph, Item, Owner, item, verdict, without_owners
from clew.cluster.controllers.garbage.watching import KindWatcher
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue

LATER = 30.0  # seconds; for an owner of a kind that is not served (now)
REMEMBERED = 500  # owners known to be gone; uids are never used again


class GarbageController:
    """Keys are uids."""

    workers = 20

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._graph = Graph()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self.queue: WorkQueue[str] = WorkQueue("garbage")
        self.watcher = KindWatcher(context, self._observe)

    def _observe(self, kind: Kind, before: Object | None, after: Object | None) -> None:
        if after is not None:
            touched = self._graph.put(item(kind, after))
        else:
            uid = str(metadata(before or {}).get("uid") or "")
            self._remember_gone(uid)
            touched = self._graph.drop(uid)
        for uid in touched:
            self.queue.add(uid)

    async def reconcile(self, uid: str) -> float | None:
        found = self._graph.get(uid)
        if found is None:
            return None
        if found.deleting:
            await self._finish(found)
            return None
        absent, unsure = await self._absent(found)
        decided = verdict(self._graph, found, absent)
        if decided.delete is not None:
            await self._delete(found, decided.delete)
        elif decided.shed:
            await self._shed(found, decided.shed)
        return LATER if unsure else None

    async def _finish(self, found: Item) -> None:
        """Take the finalizer off once what it stands for is done."""
        if found.orphans:
            for dependent in self._graph.dependents(found.uid):
                await self._shed(dependent, (found.uid,))
            await self._remove_finalizer(found, ORPHAN)
        elif found.in_foreground:
            dependents = self._graph.dependents(found.uid)
            for dependent in dependents:
                if not dependent.deleting:
                    self.queue.add(dependent.uid)
            if not self._graph.blocking(found.uid):
                await self._remove_finalizer(found, FOREGROUND)

    async def _absent(self, found: Item) -> tuple[frozenset[str], bool]:
        """The owners that do not exist, each asked for once; and whether one could not be asked for."""
        absent, unsure = set(), False
        for owner in found.owners:
            exists = await self._exists(owner, found)
            if exists is None:
                unsure = True
            elif not exists:
                absent.add(owner.uid)
        return frozenset(absent), unsure

    async def _exists(self, owner: Owner, dependent: Item) -> bool | None:
        known = self._graph.get(owner.uid)
        namespace = dependent.key[0]
        if known is not None:
            # A reference cannot reach into another namespace; what is cluster-wide owns everywhere.
            return not known.kind.namespaced or known.key[0] == namespace
        if owner.uid in self._gone:
            return False
        kind = self.watcher.find(owner.api_version, owner.kind)
        if kind is None or (kind.namespaced and not namespace):
            return None
        try:
            live = await self._client.get(kind, owner.name, namespace if kind.namespaced else "")
        except ApiError as error:
            if not error.not_found:
                raise
        else:
            if metadata(live).get("uid") == owner.uid:
                return True
        self._remember_gone(owner.uid)
        return False

    def _remember_gone(self, uid: str) -> None:
        self._gone[uid] = None
        while len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)

    async def _delete(self, found: Item, propagation: str) -> None:
        namespace, name = found.key
        try:
            await self._client.delete(found.kind, name, namespace, uid=found.uid, propagation=propagation)
        except ApiError as error:
            if not (error.not_found or error.conflict):
                raise

    async def _shed(self, found: Item, uids: tuple[str, ...]) -> None:
        """Take owners off an object's references; what others wrote meanwhile is kept."""
        live = await self._live(found)
        if live is None:
            return
        left = without_owners(live, uids)
        if len(left) != len(metadata(live).get("ownerReferences") or ()):
            await self._patch(found, live, {"ownerReferences": left or None})

    async def _remove_finalizer(self, found: Item, name: str) -> None:
        live = await self._live(found)
        if live is None:
            return
        finalizers = list(metadata(live).get("finalizers") or ())
        if name in finalizers:
            left = [each for each in finalizers if each != name]
            await self._patch(found, live, {"finalizers": left or None})

    async def _live(self, found: Item) -> Object | None:
        try:
            live = await self._client.get(found.kind, found.key[1], found.key[0])
        except ApiError as error:
            if error.not_found:
                return None
            raise
        return live if metadata(live).get("uid") == found.uid else None

    async def _patch(self, found: Item, live: Object, fields: Object) -> None:
        meta = {"uid": found.uid, "resourceVersion": metadata(live)["resourceVersion"], **fields}
        try:
            await self._client.patch(found.kind, found.key[1], {"metadata": meta}, found.key[0])
        except ApiError as error:
            if not error.not_found:
                raise
