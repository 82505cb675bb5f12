"""Defaults of Services, Endpoints and EndpointSlices. Addresses, families and node ports are the allocators' matter."""

from clew.api.objects import Object
from clew.cluster.admission.defaults.fill import fill, fill_empty, part

_AFFINITY_SECONDS = 10_800  # three hours


def service(obj: Object) -> None:
    spec = part(obj, "spec")
    fill_empty(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "ClientIP":
        fill(part(part(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=_AFFINITY_SECONDS)
    else:
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        fill_empty(port, protocol="TCP")
        if port.get("port"):
            fill_empty(port, targetPort=port["port"])
    outward = spec["type"] in ("NodePort", "LoadBalancer")
    if outward or (spec.get("externalIPs") and spec["type"] == "ClusterIP"):
        fill_empty(spec, externalTrafficPolicy="Cluster")
    if spec["type"] != "ExternalName":
        fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)


def service_type_changed(new: Object, old: Object) -> None:
    """Drop, in place, what belonged to the old type and was only carried over, as the real server does on update."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec.get("type") == before.get("type"):
        return
    outward = spec.get("type") in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))
    balanced = spec.get("type") == "LoadBalancer"
    dropped = {
        "externalTrafficPolicy": not outward,
        "allocateLoadBalancerNodePorts": not balanced,
        "loadBalancerClass": not balanced,
        "healthCheckNodePort": not balanced,
        "internalTrafficPolicy": spec.get("type") == "ExternalName",
    }
    for name, goes in dropped.items():
        if goes and spec.get(name) == before.get(name):
            spec.pop(name, None)


def endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            fill_empty(port, protocol="TCP")


def endpoint_slice(obj: Object) -> None:
    fill(obj, endpoints=[], ports=[])
    for port in obj["ports"]:
        fill(port, name="", protocol="TCP")
