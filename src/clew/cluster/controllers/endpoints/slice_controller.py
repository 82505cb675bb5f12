"""Keeps the EndpointSlices of every Service with a selector. Called by run.py."""

from collections.abc import Mapping

from clew.api.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from clew.api.objects import Key, Object, is_deleting, key_of, labels, name_of, namespace_of
from clew.cluster.controllers.context import BY_LABEL, Context, asked
from clew.cluster.controllers.endpoints import services, topology_hints
from clew.cluster.controllers.endpoints.endpoint_slices import MANAGER, slices
from clew.cluster.controllers.endpoints.slice_writer import SliceWriter
from clew.cluster.controllers.expectations import LOOK_AGAIN
from clew.watch.queue import WorkQueue


class EndpointSliceController:
    """Keys are Services. The first change is written at once, further ones every 50 ms."""

    workers = 5

    def __init__(self, context: Context) -> None:
        self._services = context.informers.of(SERVICE)
        self._pods = context.informers.of(POD)
        self._nodes = context.informers.of(NODE)
        self._slices = context.informers.of(ENDPOINT_SLICE)
        self._writer = SliceWriter(context)
        self._triggers = services.TriggerTimes()
        self._board = context.teller("endpoint-slice-controller")
        self._waiting: set[Key] = set()  # services with pods on Nodes that are not known
        self._hinted: dict[Key, Mapping[str, str]] = {}  # what was told of services that ask for hints by zone
        self.queue: WorkQueue[Key] = WorkQueue("endpointslice", pace=0.05)
        self._services.add_index(services.BY_SELECTOR, services.by_selector)
        self._services.subscribe(self._on_service)
        self._pods.subscribe(self._on_pod)
        self._nodes.subscribe(self._on_node)
        self._slices.subscribe(self._on_slice)

    def _on_service(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            if before is not None:
                self._triggers.forget(key_of(before))
                self._writer.forget(key_of(before))
                self._hinted.pop(key_of(before), None)
                self._waiting.discard(key_of(before))
        elif before is None or asked(before) != asked(after) or before.get("spec") != after.get("spec"):
            self.queue.add(key_of(after))

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        if services.bearing(before) == services.bearing(after):
            return
        for pod in (before, after):
            if pod is not None:
                for key in services.selecting(self._services, pod):
                    self.queue.add(key)

    def _on_node(self, before: Object | None, after: Object | None) -> None:
        """A zone that becomes known or changes concerns every service with a pod there; it hardly ever does.

        How much CPU a zone has concerns those that want endpoints in proportion to it. A node that goes takes nothing
        along: its pods may run on, and its kubelet may come back.
        """
        if before is None:
            while self._waiting:
                self.queue.add(self._waiting.pop())
        moved = after is not None and labels(before or {}).get(services.ZONE) != labels(after).get(services.ZONE)
        if moved or topology_hints.bearing(before) != topology_hints.bearing(after):
            for service in self._services.items():
                if moved or topology_hints.asks(service):
                    self.queue.add(key_of(service))

    def _on_slice(self, before: Object | None, after: Object | None) -> None:
        """Somebody changed or removed what is ours; our own writes come by here too and find nothing to do."""
        for each in (before, after):
            if each is not None and labels(each).get(services.MANAGED_BY) == MANAGER:
                self.queue.add((namespace_of(each), labels(each).get(services.SERVICE_NAME, "")))

    async def reconcile(self, key: Key) -> float | None:
        service = self._services.get(*key)
        if service is None or is_deleting(service) or not services.has_selector(service):
            return None  # slices of a service that is gone go with their owner
        if not self._writer.settled(key):
            return LOOK_AGAIN
        pods = services.selected(self._pods, service)
        named = f"{key[0]}/{services.SERVICE_NAME}={key[1]}"
        existing = [
            each
            for each in self._slices.by(BY_LABEL, named)
            if labels(each).get(services.MANAGED_BY) == MANAGER and not is_deleting(each)
        ]
        nodes = {name_of(node): node for node in self._nodes.items()}
        trigger = self._triggers.since(service, pods)
        plan = slices(service, pods, nodes, existing, trigger)
        if plan.is_waiting:
            self._waiting.add(key)
        again = await self._writer.write(key, plan.changes)
        self._tell(service, plan.hints)
        return again

    def _tell(self, service: Object, hints: Mapping[str, str]) -> None:
        """What became of the wish for hints by zone, whenever that is not what it was."""
        before = self._hinted.pop(key_of(service), {})
        if hints:
            self._hinted[key_of(service)] = hints
        for family in sorted({*before, *hints}):
            now = hints.get(family, topology_hints.DISABLED)
            if before.get(family, topology_hints.DISABLED) == now or (family not in hints and before[family]):
                continue
            kind, verb = ("Warning", "Disabled") if now else ("Normal", "Enabled")
            message = f"{now or topology_hints.ENABLED}, addressType: {family}"
            self._board.tell(service, kind, f"TopologyAwareHints{verb}", message)
