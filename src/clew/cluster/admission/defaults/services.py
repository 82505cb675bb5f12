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


def endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            fill_empty(port, protocol="TCP")


def endpoint_slice(obj: Object) -> None:
    fill(obj, endpoints=[], ports=[])
    for port in obj["ports"]:
        fill(port, name="", protocol="TCP")
