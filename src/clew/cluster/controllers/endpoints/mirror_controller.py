"""EndpointSlices for Endpoints that a user wrote by hand for a Service without a selector. Called by run.py."""

from collections.abc import Mapping
from typing import Any

from clew.api.kinds import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from clew.api.objects import Key, Object, annotations, dig, is_deleting, key_of, labels, name_of, namespace_of
from clew.base.addresses import family_of
from clew.cluster.controllers.context import BY_LABEL, Context, asked
from clew.cluster.controllers.endpoints import services
from clew.cluster.controllers.endpoints.packing import Changes, Frame, Group, pack
from clew.cluster.controllers.endpoints.slice_writer import SliceWriter
from clew.cluster.controllers.expectations import LOOK_AGAIN
from clew.cluster.controllers.ownership import controller_reference
from clew.watch.queue import WorkQueue

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MOST_A_SUBSET = 1000
_UNCOPIED = frozenset({services.TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"})


class EndpointSliceMirroringController:
    """Keys are Endpoints, and the Services of their names."""

    workers = 2

    def __init__(self, context: Context) -> None:
        self._services = context.informers.of(SERVICE)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._slices = context.informers.of(ENDPOINT_SLICE)
        self._writer = SliceWriter(context)
        self._board = context.teller("endpoint-slice-mirroring-controller")
        self.queue: WorkQueue[Key] = WorkQueue("endpointslicemirroring", pace=0.05)
        self._services.subscribe(self._on_change)
        self._endpoints.subscribe(self._on_change)
        self._slices.subscribe(self._on_slice)

    def _on_change(self, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and _without_status(before) == _without_status(after):
            return
        if after is None and before is not None:
            self._writer.forget(key_of(before))
        self.queue.add(key_of(after or before or {}))

    def _on_slice(self, before: Object | None, after: Object | None) -> None:
        for each in (before, after):
            if each is not None and labels(each).get(services.MANAGED_BY) == MANAGER:
                self.queue.add((namespace_of(each), labels(each).get(services.SERVICE_NAME, "")))

    async def reconcile(self, key: Key) -> float | None:
        if not self._writer.settled(key):
            return LOOK_AGAIN
        named = f"{key[0]}/{services.SERVICE_NAME}={key[1]}"
        existing = [each for each in self._slices.by(BY_LABEL, named) if _is_ours(each) and not is_deleting(each)]
        source = self._endpoints.get(*key)
        service = self._services.get(*key)
        if source is None or not mirrors(source, service):
            return await self._writer.write(key, Changes([], [], existing))
        if left := skipped(source):
            which = f"A max of {MOST_A_SUBSET} addresses can be mirrored to EndpointSlices per Endpoints subset."
            self._board.tell(source, "Warning", "TooManyAddressesToMirror", f"{which} {left} addresses were skipped")
        return await self._writer.write(key, mirrored(source, existing))


def mirrors(source: Object, service: Object | None) -> bool:
    """Whether these Endpoints are mirrored: not opted out, nobody's lock, and of a service without selector."""
    if labels(source).get(SKIP) == "true" or LEADER in annotations(source) or is_deleting(source):
        return False
    return service is not None and not dig(service, "spec", "selector")


def skipped(source: Object) -> int:
    """How many addresses no slice will have."""
    counts = (
        len(subset.get("addresses") or ()) + len(subset.get("notReadyAddresses") or ())
        for subset in source.get("subsets") or ()
    )
    return sum(max(0, count - MOST_A_SUBSET) for count in counts)


def mirrored(source: Object, existing: list[Object]) -> Changes:
    """What to write so that slices say what the Endpoints say. Pure."""
    groups: dict[tuple[str, tuple[tuple[Any, ...], ...]], Group] = {}
    for subset in source.get("subsets") or ():
        found = [_port(each) for each in subset.get("ports") or ()]
        key = tuple(tuple(sorted(each.items())) for each in found)
        addressed = [(each, True) for each in subset.get("addresses") or ()]
        addressed += [(each, False) for each in subset.get("notReadyAddresses") or ()]
        for each, ready in addressed[:MOST_A_SUBSET]:
            family = f"IPv{family_of(each['ip'])}"
            groups.setdefault((family, key), Group(family, found, [])).endpoints.append(_endpoint(each, ready=ready))
    return pack(list(groups.values()), existing, _frame(source), MOST_A_SUBSET)


def _port(each: Mapping[str, Any]) -> Object:
    found = {"name": each.get("name") or "", "port": each.get("port"), "protocol": each.get("protocol") or "TCP"}
    return found | {"appProtocol": each["appProtocol"]} if each.get("appProtocol") else found


def _endpoint(each: Mapping[str, Any], *, ready: bool) -> Object:
    made: Object = {"addresses": [each["ip"]], "conditions": {"ready": ready}}
    return made | {field: each[field] for field in ("hostname", "nodeName", "targetRef") if each.get(field)}


def _frame(source: Object) -> Frame:
    own = {name: text for name, text in labels(source).items() if name != services.HEADLESS}
    own |= {services.SERVICE_NAME: name_of(source), services.MANAGED_BY: MANAGER}
    notes = {name: text for name, text in annotations(source).items() if name not in _UNCOPIED}
    like = {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "generateName": f"{name_of(source)}-",
            "namespace": namespace_of(source),
            "ownerReferences": [controller_reference(ENDPOINTS, source)],
        },
    }
    return Frame(like, own, notes)


def _is_ours(each: Object) -> bool:
    return labels(each).get(services.MANAGED_BY) == MANAGER


def _without_status(obj: Object) -> tuple[object, ...]:
    return asked(obj), obj.get("subsets"), obj.get("spec")
