"""Defaults of pods and of the templates of workloads."""

from clew.api.objects import Object
from clew.cluster.admission.defaults.fill import fill, fill_empty, part

_MODE = 0o644
_TOKEN_SECONDS = 3600
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def pod(obj: Object) -> None:
    spec = part(obj, "spec")
    pod_spec(spec)
    fill(spec, enableServiceLinks=True, preemptionPolicy="PreemptLowerPriority")
    fill(spec, priority=_PRIORITIES.get(spec.get("priorityClassName", ""), 0))
    if spec.get("hostNetwork"):
        _host_ports(spec)


def pod_spec(spec: Object) -> None:
    """Everything that a template shares with a pod."""
    fill_empty(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler")
    fill(spec, terminationGracePeriodSeconds=30, securityContext={})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for each in spec.get(group) or ():
            container(each)
    for each in spec.get("volumes") or ():
        volume(each)
    for each in spec.get("topologySpreadConstraints") or ():
        fill_empty(each, whenUnsatisfiable="DoNotSchedule")
    if spec.get("hostNetwork"):
        _host_ports(spec)


def _host_ports(spec: Object) -> None:
    """On the node's own network a port of the container is a port of the node."""
    for group in ("initContainers", "containers"):
        for each in spec.get(group) or ():
            for port in each.get("ports") or ():
                if port.get("containerPort"):
                    fill_empty(port, hostPort=port["containerPort"])


def container(obj: Object) -> None:
    fill_empty(obj, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    fill_empty(obj, imagePullPolicy=pull_policy(obj.get("image") or ""))
    resources = part(obj, "resources")
    if resources.get("limits"):
        requests = part(resources, "requests")
        for name, value in resources["limits"].items():
            fill(requests, **{name: value})
    for port in obj.get("ports") or ():
        fill_empty(port, protocol="TCP")
    for variable in obj.get("env") or ():
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        if field is not None:
            fill_empty(field, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if obj.get(name) is not None:
            _probe(obj[name])
    for hook in (obj.get("lifecycle") or {}).values():
        _http((hook or {}).get("httpGet"))


def pull_policy(image: str) -> str:
    """A name without a version may mean another image tomorrow."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Object) -> None:
    fill_empty(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _http(probe.get("httpGet"))
    if probe.get("grpc") is not None:
        fill(probe["grpc"], service="")


def _http(action: Object | None) -> None:
    if action is not None:
        fill_empty(action, path="/", scheme="HTTP")


def volume(obj: Object) -> None:
    if not any(value is not None for name, value in obj.items() if name != "name"):
        obj["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if obj.get(source) is not None:
            fill(obj[source], defaultMode=_MODE)
    if obj.get("hostPath") is not None:
        fill(obj["hostPath"], type="")
    for item in (obj.get("downwardAPI") or {}).get("items") or ():
        _downward(item)
    for source in (obj.get("projected") or {}).get("sources") or ():
        if source.get("serviceAccountToken") is not None:
            fill(source["serviceAccountToken"], expirationSeconds=_TOKEN_SECONDS)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _downward(item)


def _downward(item: Object) -> None:
    if item.get("fieldRef") is not None:
        fill_empty(item["fieldRef"], apiVersion="v1")
    if item.get("resourceFieldRef") is not None:
        fill(item["resourceFieldRef"], divisor="0")


def qos_class(obj: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by the cpu and memory of all containers."""
    spec = obj.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    resources = [each.get("resources") or {} for each in containers]
    asked = [
        {name: value for name, value in (each.get(group) or {}).items() if name in ("cpu", "memory") and value != "0"}
        for each in resources
        for group in ("requests", "limits")
    ]
    if not any(asked):
        return "BestEffort"
    pairs = zip(asked[::2], asked[1::2], strict=True)
    guaranteed = all(limits.keys() == {"cpu", "memory"} and requests == limits for requests, limits in pairs)
    return "Guaranteed" if guaranteed else "Burstable"
