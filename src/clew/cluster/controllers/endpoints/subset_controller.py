"""Keeps the v1 Endpoints of every Service with a selector. Called by run.py."""

from clew.api.kinds import ENDPOINTS, POD, SERVICE
from clew.api.objects import Key, Object, key_of, labels
from clew.cluster.controllers.context import Context, asked
from clew.cluster.controllers.endpoints import services
from clew.cluster.controllers.endpoints.subsets import MANAGED_BY, MANAGER, endpoints
from clew.cluster.controllers.expectations import LOOK_AGAIN, Expectations
from clew.watch.errors import ApiError
from clew.watch.queue import WorkQueue


class EndpointsController:
    """Keys are Services, whose Endpoints have the same name."""

    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._services = context.informers.of(SERVICE)
        self._pods = context.informers.of(POD)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._triggers = services.TriggerTimes()
        self._left: set[Key] = set()  # services that went since they were looked at
        self._expected: Expectations[Key] = Expectations(self._endpoints, context.clock)
        self.queue: WorkQueue[Key] = WorkQueue("endpoints", pace=0.1)
        self._services.add_index(services.BY_SELECTOR, services.by_selector)
        self._services.subscribe(self._on_service)
        self._pods.subscribe(self._on_pod)
        self._endpoints.subscribe(self._on_endpoints)

    def _on_service(self, before: Object | None, after: Object | None) -> None:
        if after is None and before is not None:
            self._left.add(key_of(before))
        if before is None or after is None or asked(before) != asked(after) or before.get("spec") != after.get("spec"):
            self.queue.add(key_of(after or before or {}))

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        if services.bearing(before) == services.bearing(after):
            return
        for pod in (before, after):
            if pod is not None:
                for key in services.selecting(self._services, pod):
                    self.queue.add(key)

    def _on_endpoints(self, before: Object | None, after: Object | None) -> None:
        each = after or before
        if each is not None and labels(each).get(MANAGED_BY) == MANAGER:
            self.queue.add(key_of(each))

    async def reconcile(self, key: Key) -> float | None:
        if not self._expected.met(key):
            return LOOK_AGAIN
        service, existing = self._services.get(*key), self._endpoints.get(*key)
        if service is None:
            self._triggers.forget(key)
            if existing is not None and (key in self._left or labels(existing).get(MANAGED_BY) == MANAGER):
                await self._remove(key)  # a service takes along what somebody wrote for it by hand
            self._left.discard(key)
            return None
        self._left.discard(key)
        if not services.has_selector(service):
            return None
        pods = services.selected(self._pods, service)
        wanted = endpoints(service, pods, existing, self._triggers.since(service, pods))
        if wanted is None:
            return None
        try:
            write = self._client.create if existing is None else self._client.update
            self._expected.wrote(key, await write(ENDPOINTS, wanted))
        except ApiError as error:
            if not error.terminating:
                raise
        return None

    async def _remove(self, key: Key) -> None:
        try:
            await self._client.delete(ENDPOINTS, key[1], key[0])
        except ApiError as error:
            if not error.not_found:
                raise
