"""Subresources that read or change stored objects: scale, binding, eviction, token."""

from clew.api.kinds import POD, SECRET, SERVICE_ACCOUNT, Kind
from clew.api.objects import Object
from clew.api.selectors import LabelSelector
from clew.base.clock import rfc3339
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, conflict, invalid, not_found
from clew.cluster.apiserver.identity import Tokens
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer

SHORTEST_TOKEN = 600  # seconds


def scale_of(kind: Kind, obj: Object) -> Object:
    """autoscaling/v1 Scale of a workload."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = spec.get("selector")
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": str(LabelSelector.from_object(selector)) if selector and kind.group == "apps" else "",
        },
    }  # fmt: skip


async def set_scale(registry: Registry, kind: Kind, namespace: str, name: str, scale: Object, writer: Writer) -> Object:
    record = registry.state.latest(kind, namespace, name)
    if record is None:
        raise not_found(kind, name)
    obj = record.decode()
    version = (scale.get("metadata") or {}).get("resourceVersion")
    if version and version != obj["metadata"]["resourceVersion"]:
        raise conflict(kind, name)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        error = FieldError(
            "spec.replicas", "FieldValueInvalid", replicas, "must be greater than or equal to 0"
        )  # fmt: skip
        raise invalid(kind, name, [error])
    obj["spec"]["replicas"] = replicas
    return scale_of(kind, await registry.update(kind, namespace, name, obj, writer))


async def bind(registry: Registry, namespace: str, name: str, binding: Object, writer: Writer) -> Object:
    """POST pods/NAME/binding: the scheduler's decision; 409 where the pod has a node already or is going."""
    record = registry.state.latest(POD, namespace, name)
    if record is None:
        raise not_found(POD, name)
    pod = record.decode()
    target = (binding.get("target") or {}).get("name")
    if not target:
        raise bad_request("target.name: Required value")
    if pod["metadata"].get("deletionTimestamp"):
        raise conflict(POD, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        raise conflict(
            POD, name, f"pod {name} is already assigned to node {pod['spec']['nodeName']!r}".replace("'", '"')
        )
    pod["spec"]["nodeName"] = target
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [each for each in conditions if each["type"] != "PodScheduled"]
    now = rfc3339(registry.state.clock.now())
    conditions.append({"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now})
    if not writer.dry_run:
        await registry.state.write(POD, pod)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def evict(registry: Registry, namespace: str, name: str, eviction: Object, writer: Writer) -> Object:
    """POST pods/NAME/eviction: a deletion (no PodDisruptionBudget is served that could refuse)."""
    options = eviction.get("deleteOptions") or {}
    await registry.delete(POD, namespace, name, options, dry_run=writer.dry_run)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def request_token(registry: Registry, tokens: Tokens, namespace: str, name: str, request: Object) -> Object:
    """POST serviceaccounts/NAME/token (TokenRequest)."""
    state = registry.state
    account = state.get(SERVICE_ACCOUNT, namespace, name)
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds") or 3600
    if seconds < SHORTEST_TOKEN:
        message = f"spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        raise ApiRefusal(422, "Invalid", f'TokenRequest.authentication.k8s.io "" is invalid: {message}')
    bound = None
    if reference := spec.get("boundObjectRef"):
        kind = {"Pod": POD, "Secret": SECRET}.get(reference.get("kind", ""))
        if kind is None:
            raise bad_request(f"cannot bind token to object of type {reference.get('kind')}")
        bound = {"kind": kind.kind, **state.get(kind, namespace, reference.get("name", ""))}
        if reference.get("uid") and reference["uid"] != bound["metadata"]["uid"]:
            raise conflict(kind, reference["name"], "the UID in the bound object reference does not match")
    token, expires = tokens.issue(account, spec.get("audiences") or [], seconds, bound)
    moment = state.clock.now()
    ends = moment.fromtimestamp(expires, moment.tzinfo)
    return {
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(moment)},
        "spec": {"audiences": spec.get("audiences") or [tokens.issuer], "expirationSeconds": seconds}
        | ({"boundObjectRef": spec["boundObjectRef"]} if bound else {}),
        "status": {"token": token, "expirationTimestamp": rfc3339(ends)},
    }  # fmt: skip
