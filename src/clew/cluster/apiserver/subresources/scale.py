"""The scale subresource: autoscaling/v1 Scale of workloads and of custom kinds that name their paths."""

from clew.api.kinds import SCALE, Kind
from clew.api.objects import Object, dig
from clew.api.selectors import LabelSelector
from clew.cluster.admission import FieldError
from clew.cluster.apiserver import patching
from clew.cluster.apiserver.errors import conflict, invalid, not_found, unsupported_media
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer

_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


class Scales:
    """Reads and writes scales; called by the table of subresources."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def of(self, kind: Kind, obj: Object) -> Object:
        """The Scale of an object."""
        replicas, status, selector = self._paths(kind)
        chosen = dig(obj, *selector) if selector else None
        if isinstance(chosen, dict):
            chosen = str(LabelSelector.from_object(chosen))
        made: Object = {
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {key: obj["metadata"][key] for key in _META if key in obj["metadata"]},
            "spec": {"replicas": dig(obj, *replicas) or 0},
            "status": {"replicas": dig(obj, *status) or 0},
        }  # fmt: skip
        if chosen:
            made["status"]["selector"] = chosen
        return made

    def _paths(self, kind: Kind) -> tuple[list[str], list[str], list[str]]:
        custom = self.registry.state.catalog.custom(kind)
        if custom is None:
            return ["spec", "replicas"], ["status", "replicas"], ["spec", "selector"]
        scale = custom.subresources.get("scale") or {}
        return (
            _steps(scale.get("specReplicasPath", ".spec.replicas")),
            _steps(scale.get("statusReplicasPath", ".status.replicas")),
            _steps(scale.get("labelSelectorPath", "")),
        )

    def patched(self, kind: Kind, namespace: str, name: str, patch: patching.Patch) -> tuple[Object, list[str]]:
        """The newest Scale with a patch on it, and what the client is warned of."""
        if patch.language == patching.APPLY:
            raise unsupported_media((patching.JSON, patching.MERGE, patching.STRATEGIC))
        record = self.registry.state.latest(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        current = self.of(kind, record.decode())
        scale = patching.apply_patch(patch, SCALE, current)
        return scale, patching.check_result(patch, SCALE, None, scale)

    async def set(self, kind: Kind, namespace: str, name: str, scale: Object, writer: Writer) -> Object:
        """The Scale after its replicas are written to the object; 409 for an old resourceVersion."""
        record = self.registry.state.latest(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        obj = record.decode()
        version = (scale.get("metadata") or {}).get("resourceVersion")
        if version and version != obj["metadata"]["resourceVersion"]:
            raise conflict(kind, name)
        replicas = (scale.get("spec") or {}).get("replicas") or 0
        if replicas < 0:
            text = "must be greater than or equal to 0"
            raise invalid(SCALE, name, [FieldError("spec.replicas", "FieldValueInvalid", replicas, text)])
        *parents, last = self._paths(kind)[0]
        inner = obj
        for step in parents:
            inner = inner.setdefault(step, {})
        inner[last] = replicas
        return self.of(kind, await self.registry.update(kind, namespace, name, obj, writer, "scale"))


def _steps(path: str) -> list[str]:
    return [step for step in path.split(".") if step]
