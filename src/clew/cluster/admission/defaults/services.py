"""Defaults of Services, Endpoints and EndpointSlices. Addresses, families and node ports are the allocators' matter."""

from clew.api.objects import Object
from clew.cluster.admission.defaults.fill import fill, fill_empty, part

_AFFINITY_SECONDS = 10_800  # three hours
_NEVER_EMPTY = ("clusterIP", "externalName", "externalTrafficPolicy", "loadBalancerIP")  # an empty one is not stored


def service(obj: Object) -> None:
    spec = part(obj, "spec")
    for field in _NEVER_EMPTY:
        if spec.get(field) == "":
            del spec[field]
    for way_in in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if way_in.get("ip"):
            fill(way_in, ipMode="VIP")
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
