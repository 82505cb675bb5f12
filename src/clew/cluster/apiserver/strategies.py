"""What is particular to a kind when it is written: defaults, validation, addresses and ports, accounts of pods.

The registry asks; the answers come from `admission` (what an object must look like) and from the rooms beside this.
"""

from collections.abc import Sequence

from clew.api.kinds import CRD, NAMESPACE, POD, SERVICE, Kind
from clew.api.objects import Object
from clew.cluster import admission
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.crds import accept_definition, custom_errors, prepare_custom
from clew.cluster.apiserver.pods import admit_pod
from clew.cluster.apiserver.services import Allocators
from clew.cluster.apiserver.state import State


class Strategies:
    def __init__(self, state: State) -> None:
        self.state = state
        self.allocators = Allocators(state.options)
        for service in state.objects(SERVICE):
            self.allocators.restore(service)

    def before_create(self, kind: Kind, obj: Object) -> None:
        """Fill what the real server fills, before anything is judged."""
        custom = self.state.catalog.custom(kind)
        if custom:
            prepare_custom(custom[1], obj)
            return
        if kind == POD:
            admit_pod(self.state, obj)
        if kind == NAMESPACE:
            obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            obj["status"] = {"phase": "Active"}
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
        admission.apply_defaults(kind, obj)
        if kind == POD:
            obj["status"] = {"phase": "Pending", "qosClass": admission.qos_class(obj)}
        elif kind == SERVICE:
            obj["status"] = {"loadBalancer": {}}
        elif kind == CRD:
            accept_definition(obj, self.state.clock.now())

    def before_update(self, kind: Kind, new: Object, old: Object, subresource: str) -> None:
        custom = self.state.catalog.custom(kind)
        if custom:
            prepare_custom(custom[1], new)
        elif subresource != "status":
            if kind == SERVICE:
                self.allocators.inherit(new, old)
            admission.apply_defaults(kind, new)

    def validate_create(self, kind: Kind, obj: Object) -> Sequence[FieldError]:
        custom = self.state.catalog.custom(kind)
        return custom_errors(custom[1], kind, obj, None) if custom else admission.validate_create(kind, obj)

    def validate_update(self, kind: Kind, new: Object, old: Object, subresource: str) -> Sequence[FieldError]:
        custom = self.state.catalog.custom(kind)
        if custom:
            return custom_errors(custom[1], kind, new, old)
        if subresource in {"binding", "status", "ephemeralcontainers"}:
            return ()
        return admission.validate_update(kind, new, old)

    def allocate(self, kind: Kind, old: Object | None, new: Object, *, dry_run: bool) -> None:
        """Give a Service its addresses and ports; 422 where they cannot be had."""
        if kind == SERVICE:
            self.allocators.allocate(old, new, dry_run=dry_run)

    def release(self, kind: Kind, obj: Object) -> None:
        if kind == SERVICE:
            self.allocators.release(obj)

    def stored(self, kind: Kind, obj: Object) -> None:
        """After the object is durable."""
        if kind == CRD and "deletionTimestamp" not in obj["metadata"]:
            self.state.catalog.define(obj)

    def removed(self, kind: Kind, obj: Object) -> None:
        if kind == CRD:
            self.state.catalog.forget(obj["metadata"]["name"])
