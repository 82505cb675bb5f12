"""Namespaces: Active with their finalizer at birth, and a few that must stay."""

from clew.api.objects import Object
from clew.cluster.apiserver.errors import forbidden
from clew.cluster.apiserver.strategies.strategy import Strategy

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(Strategy):
    def fill(self, obj: Object, subresource: str = "") -> None:
        super().fill(obj, subresource)
        meta = obj["metadata"]
        if meta.get("name"):
            meta["labels"] = (meta.get("labels") or {}) | {NAME_LABEL: meta["name"]}

    def prepare_create(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        finalizers = spec.get("finalizers") or []
        obj["spec"] = {**spec, "finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]}
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, new: Object, old: Object) -> None:
        super().prepare_update(new, old)
        new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers") or []}

    def check_delete(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if name in _IMMORTAL:
            raise forbidden(self.kind, name, "this namespace may not be deleted")
