"""What an API server does unasked: ends Events, gathers roles, empties kinds, keeps its Service and IPAddresses.

Each chore is a loop that looks at storage and writes through the registry; a failing disk is tried again later.
"""

import asyncio
import contextlib
from datetime import datetime, timedelta

from clew.api.kinds import CLUSTER_ROLE, CRD, EVENT, SERVICE
from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.cluster.apiserver import address_objects, own_service
from clew.cluster.apiserver.catalog import Custom, is_established, storage_name
from clew.cluster.apiserver.errors import ApiRefusal
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.rbac import MASTERS, aggregated
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer
from clew.cluster.apiserver.strategies.definitions import CLEANUP

EVENT_LIFE = timedelta(hours=1)
_EVENT_SWEEP = 60.0  # seconds
_OWN_SERVICE = 10.0  # seconds, as kube-apiserver's own: its endpoints are no Service, and nobody says when they go
_PATIENCE = 3600.0  # how long a loop sleeps when nothing changes
_AGAIN = 1.0  # seconds before what could not be finished is tried again
SELF = Writer(Identity("system:apiserver", (MASTERS,)), "kube-apiserver")


class Chores:
    """Runs beside the server; `run` returns when it is cancelled."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.state = registry.state

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events())
            group.create_task(self._roles())
            group.create_task(self._definitions())
            group.create_task(self._addresses())
            group.create_task(self._own_service())

    async def _events(self) -> None:
        while True:
            await self.end_events()
            await self.state.clock.sleep(_EVENT_SWEEP)

    async def end_events(self) -> int:
        """Remove the Events whose last word is an hour old; returns their number."""
        oldest = self.state.clock.now() - EVENT_LIFE
        old = [event for event in self.state.objects(EVENT) if _last_word(event) < oldest]
        keys = [(event["metadata"]["namespace"], event["metadata"]["name"]) for event in old]
        try:
            await self.registry.deleter.delete_all(EVENT, keys, {}, SELF)
        except (WorldError, ApiRefusal):
            return 0
        return len(keys)

    async def _roles(self) -> None:
        collection = self.state.storage.collection(storage_name(CLUSTER_ROLE))
        while True:
            position = collection.end
            finished = await self.gather_roles()
            await collection.wait(position, _PATIENCE if finished else _AGAIN)

    async def gather_roles(self) -> bool:
        """Write the rules of every ClusterRole with an aggregationRule, until none of them changes any more.

        Gathered roles may be gathered from in turn (admin from edit from view). False where one could not be written.
        """
        try:
            for _ in range(len(self.state.objects(CLUSTER_ROLE))):
                if not await self._gather_once():
                    break
        except (WorldError, ApiRefusal):
            return False
        return True

    async def _gather_once(self) -> bool:
        """Whether a role's rules changed."""
        roles = self.state.objects(CLUSTER_ROLE)
        wanted = [(role, aggregated(role, roles)) for role in roles]
        stale = [(role, rules) for role, rules in wanted if rules is not None and rules != (role.get("rules") or [])]
        for role, rules in stale:
            await self.registry.update(CLUSTER_ROLE, "", role["metadata"]["name"], {**role, "rules": rules}, SELF)
        return bool(stale)

    async def _definitions(self) -> None:
        collection = self.state.storage.collection(storage_name(CRD))
        while True:
            position = collection.end
            finished = await self.empty_definitions()
            await collection.wait(position, _PATIENCE if finished else _AGAIN)

    async def empty_definitions(self) -> bool:
        """Delete the objects of definitions on their way out, then let those go; False while some are left."""
        finished = True
        for crd in self.state.objects(CRD):
            meta = crd["metadata"]
            if "deletionTimestamp" in meta and CLEANUP in (meta.get("finalizers") or ()):
                finished = await self._emptied(crd) and finished
            elif not is_established(crd["status"]):
                finished = await self._tried_again(crd) and finished
        return finished

    async def _tried_again(self, crd: Object) -> bool:
        """A definition that waits for a name gets it when that is free; its strategy looks at every update."""
        try:
            await self.registry.update(CRD, "", crd["metadata"]["name"], crd, SELF)
        except ApiRefusal:
            return True  # somebody else has just written it
        except WorldError:
            return False
        return True

    async def _own_service(self) -> None:
        collection = self.state.storage.collection(storage_name(SERVICE))
        while True:
            position = collection.end
            with contextlib.suppress(WorldError, ApiRefusal):
                await own_service.ensure(self.registry, SELF)
            await collection.wait(position, _OWN_SERVICE)

    async def _addresses(self) -> None:
        book = self.registry.strategies.book
        while True:
            await book.changed.wait()
            finished = False
            with contextlib.suppress(WorldError, ApiRefusal):
                finished = await address_objects.write(book, self.registry, SELF)
            if not finished:
                await self.state.clock.sleep(_AGAIN)
                book.changed.set()

    async def _emptied(self, crd: Object) -> bool:
        try:
            kind = Custom(crd, crd["spec"]["versions"][0]).kind
            if not is_established(crd["status"]):
                await self._let_go(crd)
                return True
            collection = self.state.storage.collection(storage_name(kind))
            keys = [record.key.rpartition("/")[::2] for record in collection.scan()]
            await self.registry.deleter.delete_all(kind, keys, {}, SELF)
            if collection.items:
                return False
            await self._let_go(crd)
        except (WorldError, ApiRefusal):
            return False
        return True

    async def _let_go(self, crd: Object) -> None:
        left = [each for each in crd["metadata"]["finalizers"] if each != CLEANUP]
        crd["metadata"]["finalizers"] = left
        await self.registry.update(CRD, "", crd["metadata"]["name"], crd, SELF)


def _last_word(event: Object) -> datetime:
    moment = (
        (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp")
        or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    )  # fmt: skip
    return datetime.fromisoformat(moment)
