"""A Service, trimmed to what load balancing and DNS need. Not the API's object: that ends in `from_api`.

Every default of v1.Service that matters here is filled in here and nowhere else. Called by reflectors (`decode`) and
tests (`from_api`); read by compile.

Source: Kubernetes API v1 Service; KEP-1860 (ipMode), KEP-2433 and KEP-4444 (topology, trafficDistribution).
"""

from typing import Any, Literal

import msgspec

from clew.base.value import Value
from clew.facts.partial import Labels, Partial, decode_partial

Protocol = Literal["TCP", "UDP", "SCTP"]
ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]
Policy = Literal["Cluster", "Local"]

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
AFFINITY_TIMEOUT = 10_800  # seconds; the API's default for ClientIP


class ServicePort(Value):
    name: str
    protocol: Protocol
    port: int
    node_port: int  # 0 where there is none
    app_protocol: str


class IngressAddress(Value):
    """An address at which a load balancer says the service can be reached."""

    ip: str  # "" where only a host name is given
    hostname: str
    mode: Literal["VIP", "Proxy"]  # Proxy: the balancer answers by itself, the node must not capture the address


class Service(Value):
    namespace: str
    name: str
    created: str  # RFC 3339, as the API server wrote it; sorts by time
    type: ServiceType
    cluster_ips: tuple[str, ...]  # without "None"; empty for headless and ExternalName
    headless: bool
    ports: tuple[ServicePort, ...]
    external_ips: tuple[str, ...]
    ingress: tuple[IngressAddress, ...]
    affinity_timeout: int  # seconds; 0: no session affinity
    external_policy: Policy
    internal_policy: Policy
    source_ranges: tuple[str, ...]
    health_check_node_port: int  # 0 where there is none
    publish_not_ready: bool
    proxy_name: str  # the label by which another proxy claims the service
    headless_label: bool
    traffic_distribution: str
    external_name: str
    has_selector: bool
    malformed: str = ""  # why the object could not be read; all other fields but the names are empty then

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def origin(self) -> str:
        return f"Service {self.namespace}/{self.name}"


class _Port(Partial):
    name: str = ""
    protocol: Protocol = "TCP"
    port: int = 0
    node_port: int = 0
    app_protocol: str | None = None


class _ClientIP(Partial):
    timeout_seconds: int | None = None


class _AffinityConfig(Partial):
    client_ip: _ClientIP | None = msgspec.field(default=None, name="clientIP")


class _Spec(Partial):
    type: ServiceType = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    ports: list[_Port] | None = None
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    session_affinity: str = "None"
    session_affinity_config: _AffinityConfig | None = None
    external_traffic_policy: Policy | Literal[""] = "Cluster"
    internal_traffic_policy: Policy | Literal[""] | None = None
    load_balancer_source_ranges: list[str] | None = None
    health_check_node_port: int = 0
    publish_not_ready_addresses: bool = False
    traffic_distribution: str | None = None
    external_name: str = ""
    selector: dict[str, str] | None = None


class _Ingress(Partial):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class _LoadBalancer(Partial):
    ingress: list[_Ingress] | None = None


class _Status(Partial):
    load_balancer: _LoadBalancer = msgspec.field(default_factory=_LoadBalancer)


class _Meta(Partial):
    name: str
    namespace: str = ""
    creation_timestamp: str | None = None
    labels: Labels = None


class _Service(Partial):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


def from_api(obj: bytes | dict[str, Any]) -> Service:
    """The fact in a v1.Service, given as JSON or decoded; ValueError names the field that has another type."""
    service = decode_partial(obj, _Service)
    return _fact(service)


def decode(data: bytes) -> tuple[tuple[str, str], Service | None]:
    """For a reflector: key and fact. An object whose fields have other types becomes a fact that says so."""
    try:
        service = _fact(decode_partial(data, _Service))
    except ValueError as wrong:
        service = _malformed(decode_partial(data, _Named).metadata, str(wrong))
    return service.key, service


class _Named(Partial):
    metadata: _Meta


def _fact(obj: _Service) -> Service:
    meta, spec = obj.metadata, obj.spec
    labels = meta.labels or {}
    addresses = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    return Service(
        namespace=meta.namespace,
        name=meta.name,
        created=meta.creation_timestamp or "",
        type=spec.type,
        cluster_ips=() if "None" in addresses else tuple(addresses),
        headless="None" in addresses,
        ports=tuple(map(_port, spec.ports or ())),
        external_ips=tuple(spec.external_ips or ()),
        ingress=tuple(map(_ingress, obj.status.load_balancer.ingress or ())),
        affinity_timeout=_affinity(spec),
        external_policy=spec.external_traffic_policy or "Cluster",
        internal_policy=spec.internal_traffic_policy or "Cluster",
        source_ranges=tuple(text.strip() for text in spec.load_balancer_source_ranges or ()),
        health_check_node_port=spec.health_check_node_port,
        publish_not_ready=spec.publish_not_ready_addresses,
        proxy_name=labels.get(PROXY_NAME_LABEL, ""),
        headless_label=HEADLESS_LABEL in labels,
        traffic_distribution=spec.traffic_distribution or "",
        external_name=spec.external_name,
        has_selector=bool(spec.selector),
    )


def _malformed(meta: _Meta, reason: str) -> Service:
    return Service(
        namespace=meta.namespace, name=meta.name, created=meta.creation_timestamp or "", type="ClusterIP",
        cluster_ips=(), headless=False, ports=(), external_ips=(), ingress=(), affinity_timeout=0,
        external_policy="Cluster", internal_policy="Cluster", source_ranges=(), health_check_node_port=0,
        publish_not_ready=False, proxy_name="", headless_label=False, traffic_distribution="", external_name="",
        has_selector=False, malformed=reason,
    )  # fmt: skip


def _port(port: _Port) -> ServicePort:
    return ServicePort(port.name, port.protocol, port.port, port.node_port, port.app_protocol or "")


def _ingress(ingress: _Ingress) -> IngressAddress:
    return IngressAddress(ingress.ip, ingress.hostname, "Proxy" if ingress.ip_mode == "Proxy" else "VIP")


def _affinity(spec: _Spec) -> int:
    if spec.session_affinity != "ClientIP":
        return 0
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    return seconds or AFFINITY_TIMEOUT
