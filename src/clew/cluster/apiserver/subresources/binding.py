"""pods/binding, the scheduler's decision, and pods/eviction, a polite deletion."""

from clew.api.kinds import POD, Kind
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import bad_request, conflict, invalid, not_found
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.replies import success
from clew.cluster.apiserver.state import Writer

BINDING = Kind("", "v1", "Binding", "bindings", True)
_BINDINGS = Kind("", "v1", "Binding", "pods/binding", True)  # as conflicts name it
EVICTION = Kind("policy", "v1", "Eviction", "evictions", True)


async def bind(registry: Registry, namespace: str, name: str, binding: Object, writer: Writer) -> Object:
    """Give the pod its node; 409 where it has one already or is going."""
    record = registry.state.latest(POD, namespace, name)
    if record is None:
        raise not_found(POD, name)
    pod = record.decode()
    target = binding.get("target") or {}
    if target.get("kind") not in {None, "", "Node"}:
        wrong = FieldError("target.kind", "FieldValueNotSupported", target["kind"], 'supported values: "Node", ""')
        raise invalid(POD, name, [wrong])
    if not target.get("name"):
        raise invalid(POD, name, [FieldError("target.name", "FieldValueRequired", None)])
    _check(pod, binding.get("metadata") or {})
    pod["spec"]["nodeName"] = target["name"]
    given = (binding.get("metadata") or {}).get("annotations")
    if given:
        pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **given}
    status = pod.setdefault("status", {})
    moment = rfc3339(registry.state.clock.now())
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
    others = [each for each in status.get("conditions") or () if each.get("type") != "PodScheduled"]
    status["conditions"] = [*others, scheduled]
    if not writer.dry_run:
        await registry.state.write(POD, pod)
    return success(code=201)


def _check(pod: Object, wanted: Object) -> None:
    meta, spec = pod["metadata"], pod["spec"]
    name = meta["name"]
    if wanted.get("uid") and wanted["uid"] != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {meta['uid']}"
        raise conflict(POD, name, why)
    if "deletionTimestamp" in meta:
        raise conflict(_BINDINGS, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict(_BINDINGS, name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise conflict(_BINDINGS, name, f"pod {name} has non-empty .spec.schedulingGates")


async def evict(registry: Registry, namespace: str, name: str, eviction: Object, writer: Writer) -> Object:
    """A deletion with the options that came along (no PodDisruptionBudget is served that could refuse)."""
    given = (eviction.get("metadata") or {}).get("name")
    if given and given != name:
        raise bad_request(f"name in URL does not match name in Eviction object: {name} != {given}")
    options = eviction.get("deleteOptions") or {}
    dry_run = writer.dry_run or "All" in (options.get("dryRun") or ())
    await registry.deleter.delete(POD, namespace, name, options, dry_run=dry_run)
    return success(code=201)
