"""CustomResourceDefinitions: accepted at once, served from that moment, and gone only after their objects."""

import asyncio

from clew.api.kinds import CRD
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.admission.cel import must_compile
from clew.cluster.admission.definitions import crd_errors
from clew.cluster.apiserver.catalog import is_established
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Strategy

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_NAMES = (
    ("plural", "resources"), ("singular", "resources"), ("shortNames", "resources"), ("kind", "kinds"),
    ("listKind", "kinds"),
)  # fmt: skip


class DefinitionStrategy(Strategy):
    def __init__(self, state: State) -> None:
        super().__init__(CRD)
        self.state = state

    async def think(self, obj: Object) -> None:
        """Rules are compiled beside the loop; what comes of it is kept for those who ask again."""
        for version in (obj.get("spec") or {}).get("versions") or ():
            if must_compile((version.get("schema") or {}).get("openAPIV3Schema") or {}):
                await asyncio.to_thread(lambda: list(crd_errors(obj)))
                return

    def fill(self, obj: Object, subresource: str = "") -> None:
        super().fill(obj, subresource)
        spec = obj.get("spec")
        names = spec.get("names") if isinstance(spec, dict) else None
        if isinstance(spec, dict) and isinstance(names, dict) and names.get("kind"):
            names.setdefault("singular", str(names["kind"]).lower())
            names.setdefault("listKind", f"{names['kind']}List")
            spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, obj: Object) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        obj["metadata"]["finalizers"] = [*finalizers, CLEANUP] if CLEANUP not in finalizers else finalizers
        obj.pop("status", None)
        if isinstance(obj.get("spec"), dict):
            obj["status"] = self._status(obj, {})

    def prepare_update(self, new: Object, old: Object) -> None:
        super().prepare_update(new, old)
        if isinstance(new.get("spec"), dict):
            new["status"] = self._status(new, old.get("status") or {})

    def _status(self, crd: Object, before: Object) -> Object:
        """Decided at once: names that nobody else has are accepted, and with all of them the kind is served."""
        spec = crd["spec"]
        names: Object = spec.get("names") or {}
        held = {each.get("type"): each for each in before.get("conditions") or ()}
        accepted, conflict = self._accepted(crd, names, before.get("acceptedNames") or {})
        told = [_condition("NamesAccepted", "True", "NoConflicts", "no conflicts found")]
        if conflict:
            told = [_condition("NamesAccepted", "False", *conflict)]
        if is_established(before):
            told.append(held["Established"])
        elif conflict:
            told.append(_condition("Established", "False", "NotAccepted", "not all names are accepted"))
        else:
            text = "the initial names have been accepted"
            told.append(_condition("Established", "True", "InitialNamesAccepted", text))
        moment = rfc3339(self.state.clock.now())
        storage = [each.get("name") for each in spec.get("versions") or () if each.get("storage")]
        known = before.get("storedVersions") or []
        return {
            "acceptedNames": accepted,
            "storedVersions": [*known, *(name for name in storage if name not in known)],
            "conditions": [_since(each, held.get(each["type"]), moment) for each in told],
        }

    def _accepted(self, crd: Object, names: Object, before: Object) -> tuple[Object, tuple[str, str] | None]:
        """The names it has from now on, and what stands in the way of the others; those keep their former value."""
        mine = crd["metadata"].get("name", "")
        in_use = self.state.catalog.names_in_use(crd["spec"].get("group", ""), but=mine)
        accepted = dict(names)
        conflict: tuple[str, str] | None = None
        for field, taken in _NAMES:  # of several conflicts the last is told
            wanted = names.get(field) or []
            lost = [name for name in ([wanted] if isinstance(wanted, str) else wanted) if name in in_use[taken]]
            if lost:
                conflict = (f"{field[0].upper()}{field[1:]}Conflict", f'"{lost[0]}" is already in use')
                accepted[field] = before.get(field, "")
        return {field: value for field, value in accepted.items() if value or field in {"plural", "kind"}}, conflict

    def stored(self, obj: Object) -> None:
        self.state.catalog.define(obj)

    def removed(self, obj: Object) -> None:
        self.state.catalog.forget(obj["metadata"]["name"])


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _since(condition: Object, before: Object | None, moment: str) -> Object:
    same = before is not None and before.get("status") == condition["status"]
    return {**condition, "lastTransitionTime": before.get("lastTransitionTime", moment) if same and before else moment}
