"""Services and the pods that they select, found both ways without looking at all of either; ports resolved per pod.

Pure but for reading caches. Used by the controllers of this folder.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from clew.api.conditions import condition, parse_time
from clew.api.objects import Key, Object, dig, is_deleting, key_of, labels, metadata, name_of, namespace_of
from clew.base.clock import rfc3339
from clew.cluster.controllers import pods as podlike
from clew.cluster.controllers.context import BY_LABEL
from clew.watch.informer import Informer

BY_SELECTOR = "selector"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ZONE = "topology.kubernetes.io/zone"


def by_selector(service: Object) -> tuple[str, ...]:
    """One pair of the selector: a pod that has not this one is not selected."""
    selector = dig(service, "spec", "selector")
    if not selector:
        return ()
    name = min(selector)
    return (f"{namespace_of(service)}/{name}={selector[name]}",)


def has_selector(service: Mapping[str, Any]) -> bool:
    return bool(dig(service, "spec", "selector")) and dig(service, "spec", "type") != "ExternalName"


def is_headless(service: Mapping[str, Any]) -> bool:
    return bool(dig(service, "spec", "clusterIP") == "None")


def publishes(service: Mapping[str, Any]) -> bool:
    """Whether it wants pods to be found that are not ready, or hardly there."""
    return bool(dig(service, "spec", "publishNotReadyAddresses"))


def selecting(services: Informer, pod: Object) -> list[Key]:
    """The services that select the pod."""
    namespace, pairs = namespace_of(pod), labels(pod)
    return [
        key_of(service)
        for name, value in pairs.items()
        for service in services.by(BY_SELECTOR, f"{namespace}/{name}={value}")
        if service["spec"]["selector"].items() <= pairs.items()
    ]


def selected(pods: Informer, service: Object) -> list[Object]:
    """The pods that a service selects, by name; the rarest pair of its selector leads the search."""
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    namespace = namespace_of(service)
    if not selector:
        return []
    values = [f"{namespace}/{name}={value}" for name, value in selector.items()]
    rarest = min(values, key=lambda value: pods.count(BY_LABEL, value))
    found = [pod for pod in pods.by(BY_LABEL, rarest) if selector.items() <= labels(pod).items()]
    return sorted(found, key=name_of)


def bearing(pod: Object | None) -> tuple[object, ...] | None:
    """All of a pod that an endpoint is made of; when it is equal before and after, no service need look."""
    if pod is None:
        return None
    return (
        metadata(pod).get("uid"), metadata(pod).get("labels"), is_deleting(pod), podlike.is_finished(pod),
        podlike.is_ready(pod), podlike.node_of(pod), dig(pod, "status", "podIPs"), dig(pod, "status", "podIP"),
        dig(pod, "spec", "hostname"), dig(pod, "spec", "subdomain"),
    )  # fmt: skip


def addresses(pod: Mapping[str, Any]) -> list[str]:
    found = [str(each["ip"]) for each in dig(pod, "status", "podIPs") or () if each.get("ip")]
    one = dig(pod, "status", "podIP")
    return found or ([str(one)] if one else [])


class Port(NamedTuple):
    """A service's port on one pod."""

    name: str
    protocol: str
    number: int
    app_protocol: str

    def as_object(self) -> Object:
        found: Object = {"name": self.name, "port": self.number, "protocol": self.protocol}
        return found | {"appProtocol": self.app_protocol} if self.app_protocol else found


def ports(service: Mapping[str, Any], pod: Mapping[str, Any]) -> tuple[Port, ...]:
    """The service's ports as they are on this pod; one whose name the pod does not know is left out."""
    found = []
    for each in dig(service, "spec", "ports") or ():
        protocol = each.get("protocol") or "TCP"
        number = _number(each, protocol, pod)
        if number is not None:
            found.append(Port(each.get("name") or "", protocol, number, each.get("appProtocol") or ""))
    return tuple(sorted(found))


def _number(service_port: Mapping[str, Any], protocol: str, pod: Mapping[str, Any]) -> int | None:
    target = service_port.get("targetPort")
    if target is None or target in (0, ""):
        return int(service_port["port"])
    if isinstance(target, int):
        return target
    sidecars = [each for each in dig(pod, "spec", "initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*(dig(pod, "spec", "containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def target(pod: Mapping[str, Any]) -> Object:
    """The targetRef of a pod's endpoint."""
    meta = metadata(pod)
    return {"kind": "Pod", "namespace": meta.get("namespace"), "name": meta.get("name"), "uid": meta.get("uid")}


def hostname(service: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """The pod's own name below the service's, if it asked for one."""
    name = dig(pod, "spec", "hostname")
    return str(name) if name and dig(pod, "spec", "subdomain") == name_of(service) else ""


class TriggerTimes:
    """When what made a service's endpoints change happened: the start of the delay that users measure (KEP: SLI)."""

    def __init__(self) -> None:
        self._known: dict[Key, dict[str, str]] = {}

    def since(self, service: Object, pods: Iterable[Object]) -> str:
        """The earliest change that was not known at the last call for this service; "" when there is none."""
        now = {"": metadata(service).get("creationTimestamp") or ""}
        for pod in pods:
            moment = (condition(pod, "Ready") or {}).get("lastTransitionTime")
            if moment:
                now[name_of(pod)] = moment
        before = self._known.get(key_of(service), {})
        self._known[key_of(service)] = now
        fresh = [moment for name, moment in now.items() if moment and moment > before.get(name, "")]
        first = parse_time(min(fresh, default=None))
        return rfc3339(first) if first else ""

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)
