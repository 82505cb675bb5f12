"""What the server adds to a new pod: its service account with the token's volume, and its tolerations."""

from clew.api.kinds import SERVICE_ACCOUNT
from clew.api.objects import Object
from clew.cluster.apiserver.errors import ApiRefusal
from clew.cluster.apiserver.names import random_suffix
from clew.cluster.apiserver.state import State

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
TOKEN_SECONDS = 3607
_PATIENCE = 300  # seconds a pod stays on a node that is not ready, unless it says otherwise


def admit_pod(state: State, pod: Object) -> None:
    """ServiceAccount and DefaultTolerationSeconds admission, as kube-apiserver's plugins of those names."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    meta = pod["metadata"]
    name = spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default") or "default"
    spec["serviceAccountName"] = name
    record = state.latest(SERVICE_ACCOUNT, meta["namespace"], name)
    if record is None:
        where = f"error looking up service account {meta['namespace']}/{name}"
        raise ApiRefusal(
            403, "Forbidden", f'pods "{meta["name"]}" is forbidden: {where}: serviceaccount "{name}" not found',
            {"name": meta["name"], "kind": "pods"},
        )  # fmt: skip
    account = record.decode()
    mount = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken"))
    if mount is not False:
        _mount_token(spec)
    tolerations = spec.setdefault("tolerations", [])
    for taint in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(_tolerates(each, taint) for each in tolerations):
            tolerations.append(
                {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _PATIENCE}
            )


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
    spec.setdefault("volumes", []).append({"name": volume, "projected": {"defaultMode": 420, "sources": _sources()}})
    for container in without:
        container.setdefault("volumeMounts", []).append({"name": volume, "readOnly": True, "mountPath": TOKEN_PATH})


def _sources() -> list[Object]:
    field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    root = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": root},
        {"downwardAPI": {"items": [field]}},
    ]
