"""Pods: their service account with the token's volume, priority, tolerations and status at birth.

As the admission plugins ServiceAccount, Priority, DefaultTolerationSeconds and PodNodeSelector's absence leave them.
"""

from collections.abc import Sequence

from clew.api.kinds import POD, SERVICE_ACCOUNT
from clew.api.objects import Object, clone
from clew.cluster import admission
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import forbidden
from clew.cluster.apiserver.names import random_suffix
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Strategy

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
TOKEN_SECONDS = 3607
_PATIENCE = 300  # seconds a pod stays on a node that is not ready, unless it says otherwise
_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class PodStrategy(Strategy):
    def __init__(self, state: State) -> None:
        super().__init__(POD)
        self.state = state

    def admit(self, obj: Object) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        account = self._account(obj, spec)
        mount = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken"))
        if mount is not False:
            _mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = clone(account["imagePullSecrets"])
        self._prioritise(obj, spec)
        tolerations = [*(spec.get("tolerations") or [])]
        for taint in _TAINTS:
            if not any(_tolerates(each, taint) for each in tolerations):
                tolerations.append(
                    {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _PATIENCE}
                )
        spec["tolerations"] = tolerations

    def _account(self, pod: Object, spec: Object) -> Object:
        meta = pod["metadata"]
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        record = self.state.latest(SERVICE_ACCOUNT, meta["namespace"], name)
        if record is None:
            where = f"error looking up service account {meta['namespace']}/{name}"
            raise forbidden(POD, meta.get("name", ""), f'{where}: serviceaccount "{name}" not found')
        return record.decode()

    def _prioritise(self, pod: Object, spec: Object) -> None:
        wanted = spec.get("priorityClassName", "")
        if wanted and wanted not in _PRIORITIES:
            why = f"no PriorityClass with name {wanted} was found"
            raise forbidden(POD, pod["metadata"].get("name", ""), why)
        spec["priority"] = _PRIORITIES.get(wanted, 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}
        if obj.get("spec"):
            obj["status"]["qosClass"] = admission.qos_class(obj)

    def prepare_status(self, new: Object, old: Object) -> Object:
        made = super().prepare_status(new, old)
        qos = (old.get("status") or {}).get("qosClass")
        if qos and "status" in made:
            made["status"] = {**made["status"], "qosClass": qos}
        return made

    def errors(self, obj: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:
        if subresource == "ephemeralcontainers" and old is not None:
            return _ephemeral_errors(obj, old)
        return super().errors(obj, old, subresource)


def with_ephemeral_containers(current: Object, given: Object) -> Object:
    """What a write to pods/ephemeralcontainers may change: that list and nothing else."""
    made: Object = {**current, "metadata": {**current["metadata"]}, "spec": {**current["spec"]}}
    version = (given.get("metadata") or {}).get("resourceVersion")
    if version:
        made["metadata"]["resourceVersion"] = version
    made["spec"]["ephemeralContainers"] = clone((given.get("spec") or {}).get("ephemeralContainers") or [])
    return made


def _ephemeral_errors(new: Object, old: Object) -> list[FieldError]:
    found: list[FieldError] = []
    field = "spec.ephemeralContainers"
    now = {each.get("name"): each for each in new["spec"].get("ephemeralContainers") or ()}
    for each in old["spec"].get("ephemeralContainers") or ():
        if each["name"] not in now:
            why = f'existing ephemeral containers "{each["name"]}" may not be removed'
            found.append(FieldError(field, "FieldValueForbidden", None, why))
        elif now[each["name"]] != each:
            why = f'existing ephemeral containers "{each["name"]}" may not be changed'
            found.append(FieldError(field, "FieldValueForbidden", None, why))
    taken = {each["name"] for part in ("containers", "initContainers") for each in new["spec"].get(part) or ()}
    for at, each in enumerate(new["spec"].get("ephemeralContainers") or ()):
        if not each.get("name"):
            found.append(FieldError(f"{field}[{at}].name", "FieldValueRequired", None))
        elif each["name"] in taken:
            found.append(FieldError(f"{field}[{at}].name", "FieldValueDuplicate", each["name"]))
        if not each.get("image"):
            found.append(FieldError(f"{field}[{at}].image", "FieldValueRequired", None))
    return found


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key") in {None, "", key} and toleration.get("effect") in {None, "", "NoExecute"}


def _mount_token(spec: Object) -> None:
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    without = [
        container
        for container in containers
        if isinstance(container, dict)
        and all(mount.get("mountPath") != TOKEN_PATH for mount in container.get("volumeMounts") or [])
    ]
    if not without:
        return
    volume = f"kube-api-access-{random_suffix()}"
    sources = {"defaultMode": 420, "sources": _sources()}
    spec["volumes"] = [*(spec.get("volumes") or []), {"name": volume, "projected": sources}]
    for container in without:
        mount = {"name": volume, "readOnly": True, "mountPath": TOKEN_PATH}
        container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]


def _sources() -> list[Object]:
    field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    root = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": root},
        {"downwardAPI": {"items": [field]}},
    ]
