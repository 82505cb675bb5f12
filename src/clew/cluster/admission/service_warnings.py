"""What the client of a Service is told though nothing is refused: fields that act on nothing, or will be refused.

Source of the texts: k8s.io/kubernetes pkg/api/service, GetWarningsForService; apimachinery's GetWarningsForIP.
"""

from collections.abc import Iterator
from ipaddress import ip_network

from clew.api.objects import Object
from clew.cluster.admission import names

_FORMER_MODE, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"


def service_warnings(service: Object) -> Iterator[str]:
    spec = service.get("spec") or {}
    if _FORMER_MODE in (service["metadata"].get("annotations") or {}):
        yield f"annotation {_FORMER_MODE} is deprecated, please use {_MODE} instead"
    if spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None":
        yield from _headless(spec)
    yield from _addresses(spec)
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _headless(spec: Object) -> Iterator[str]:
    for field in ("loadBalancerIP", "externalIPs"):
        if spec.get(field):
            yield f"spec.{field} is ignored for headless services"
    if spec.get("sessionAffinity") == "ClientIP":
        yield "spec.SessionAffinity is ignored for headless services"


def _addresses(spec: Object) -> Iterator[str]:
    listed = [
        (f"{field}[{at}]", ip) for field in ("clusterIPs", "externalIPs") for at, ip in enumerate(spec.get(field) or ())
    ]
    for field, text in (*listed, ("loadBalancerIP", spec.get("loadBalancerIP") or "")):
        address = names.parse_ip(text)
        if address is not None and str(address) != text:
            canonical = f'should be in RFC 5952 canonical format ("{address}")'
            yield f'spec.{field}: IPv6 address "{text}" {canonical}'
    for index, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        address, network = names.parse_ip(text.strip().partition("/")[0]), ip_network(text.strip(), strict=False)
        if network.network_address != address:
            which = f'should be "{network}" or "{address}/{network.max_prefixlen}"?'
            yield f'spec.loadBalancerSourceRanges[{index}]: CIDR value "{text}" is ambiguous in this context ({which})'
