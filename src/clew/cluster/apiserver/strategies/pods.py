"""Pods: their service account with the token's volume, priority, tolerations and status at birth.

As the admission plugins ServiceAccount, Priority, DefaultTolerationSeconds and PodNodeSelector's absence leave them.
"""

from collections.abc import Sequence

from clew.api.kinds import NAMESPACE, POD, SERVICE_ACCOUNT
from clew.api.objects import Object, clone
from clew.cluster import admission
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import forbidden
from clew.cluster.apiserver.names import random_suffix
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies.strategy import Strategy

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
TOKEN_SECONDS = 3607
_ACCOUNT_WAIT = 1.0  # seconds
_PATIENCE = 300  # seconds a pod stays on a node that is not ready, unless it says otherwise
_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_GATED = {
    "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}  # fmt: skip
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class PodStrategy(Strategy):
    def __init__(self, state: State) -> None:
        super().__init__(POD)
        self.state = state

    async def ready(self, namespace: str, obj: Object) -> None:
        """A new namespace's first pod waits for the account that a controller makes, as kube-apiserver has it wait."""
        spec = obj.get("spec")
        name = (spec.get("serviceAccountName") if isinstance(spec, dict) else None) or "default"
        accounts = self.state.storage.collection(storage_name(SERVICE_ACCOUNT))
        if name != "default" or self.state.latest(NAMESPACE, "", namespace) is None:
            return
        ends = self.state.clock.monotonic() + _ACCOUNT_WAIT
        while self.state.latest(SERVICE_ACCOUNT, namespace, name) is None:
            left = ends - self.state.clock.monotonic()
            if left <= 0:
                return
            await accounts.wait(accounts.end, left)

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
            if obj["spec"].get("schedulingGates"):
                obj["status"]["conditions"] = [_GATED]

    def prepare_status(self, new: Object, old: Object) -> Object:
        made = super().prepare_status(new, old)
        qos = (old.get("status") or {}).get("qosClass")
        if qos and "status" in made:
            made["status"] = {**made["status"], "qosClass": qos}
        return made

    def errors(self, obj: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:
        if subresource == "ephemeralcontainers" and old is not None:
            return list(admission.ephemeral_errors(obj, old))
        return super().errors(obj, old, subresource)


def with_ephemeral_containers(current: Object, given: Object) -> Object:
    """What a write to pods/ephemeralcontainers may change: that list and nothing else."""
    made: Object = {**current, "metadata": {**current["metadata"]}, "spec": {**current["spec"]}}
    version = (given.get("metadata") or {}).get("resourceVersion")
    if version:
        made["metadata"]["resourceVersion"] = version
    made["spec"]["ephemeralContainers"] = clone((given.get("spec") or {}).get("ephemeralContainers") or [])
    return made


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
