"""CustomResourceDefinitions: accepted at once, served from that moment, and gone only after their objects."""

from clew.api.kinds import CRD
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Strategy

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


class DefinitionStrategy(Strategy):
    def __init__(self, state: State) -> None:
        super().__init__(CRD)
        self.state = state

    def fill(self, obj: Object, subresource: str = "") -> None:
        super().fill(obj, subresource)
        spec = obj.get("spec")
        names = spec.get("names") if isinstance(spec, dict) else None
        if isinstance(spec, dict) and isinstance(names, dict) and names.get("kind"):
            names.setdefault("singular", str(names["kind"]).lower())
            names.setdefault("listKind", f"{names['kind']}List")
            spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, obj: Object) -> None:
        """Names are accepted without further ado: nobody else could claim them on this one server."""
        finalizers = obj["metadata"].get("finalizers") or []
        obj["metadata"]["finalizers"] = [*finalizers, CLEANUP] if CLEANUP not in finalizers else finalizers
        obj.pop("status", None)
        if isinstance(obj.get("spec"), dict):
            obj["status"] = self._status(obj, None)

    def prepare_update(self, new: Object, old: Object) -> None:
        super().prepare_update(new, old)
        if isinstance(new.get("spec"), dict):
            new["status"] = self._status(new, old.get("status"))

    def _status(self, crd: Object, before: Object | None) -> Object:
        spec = crd["spec"]
        storage = [each.get("name") for each in spec.get("versions") or () if each.get("storage")]
        known = (before or {}).get("storedVersions") or []
        moment = rfc3339(self.state.clock.now())
        conditions = (before or {}).get("conditions") or [
            {
                "type": "NamesAccepted", "status": "True", "lastTransitionTime": moment,
                "reason": "NoConflicts", "message": "no conflicts found",
            },
            {
                "type": "Established", "status": "True", "lastTransitionTime": moment,
                "reason": "InitialNamesAccepted", "message": "the initial names have been accepted",
            },
        ]  # fmt: skip
        stored = [*known, *(name for name in storage if name not in known)]
        return {"acceptedNames": spec.get("names") or {}, "storedVersions": stored, "conditions": conditions}

    def stored(self, obj: Object) -> None:
        self.state.catalog.define(obj)

    def removed(self, obj: Object) -> None:
        self.state.catalog.forget(obj["metadata"]["name"])
