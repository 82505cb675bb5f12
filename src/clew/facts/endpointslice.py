"""An EndpointSlice, trimmed to what load balancing and DNS need.

Every default is filled in here: a condition that nobody set means ready, serving and not terminating. Called by
reflectors (`decode`) and tests (`from_api`); read by compile.

Source: Kubernetes API discovery.k8s.io/v1; KEP-1672 (serving and terminating), KEP-3015 (hints for nodes).
"""

from typing import Any, Literal

import msgspec

from clew.base.value import Value
from clew.facts.partial import Labels, Partial, decode_partial

SERVICE_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
CHANGE_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"

AddressType = Literal["IPv4", "IPv6", "FQDN"]


class Endpoint(Value):
    """One pod, or one machine, that answers for a service."""

    addresses: tuple[str, ...]  # proxies use the first, as the API asks; names use all
    ready: bool
    serving: bool
    terminating: bool
    node: str  # "" where nobody said
    zone: str
    hint_zones: tuple[str, ...]
    hint_nodes: tuple[str, ...]
    hostname: str
    target: str  # the pod's name, "" where it is no pod


class EndpointPort(Value):
    name: str
    protocol: str
    port: int  # 0: all ports, which no proxy can use
    app_protocol: str


class EndpointSlice(Value):
    namespace: str
    name: str
    service: str  # name of the Service in the same namespace, "" where it belongs to none
    address_type: AddressType
    endpoints: tuple[Endpoint, ...]
    ports: tuple[EndpointPort, ...]
    proxy_name: str
    headless: bool
    changed: str  # RFC 3339: when the change began that led to this state, "" where nobody said
    malformed: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def origin(self) -> str:
        return f"EndpointSlice {self.namespace}/{self.name}"

    @property
    def service_key(self) -> tuple[str, str]:
        return self.namespace, self.service


class _Conditions(Partial):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Name(Partial):
    name: str = ""


class _Hints(Partial):
    for_zones: list[_Name] | None = None
    for_nodes: list[_Name] | None = None


class _Target(Partial):
    kind: str = ""
    name: str = ""


class _Endpoint(Partial):
    addresses: list[str] | None = None
    conditions: _Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: _Hints | None = None
    hostname: str | None = None
    target_ref: _Target | None = None


class _Port(Partial):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class _Meta(Partial):
    name: str
    namespace: str = ""
    labels: Labels = None
    annotations: Labels = None


class _Slice(Partial):
    metadata: _Meta
    address_type: AddressType = "IPv4"
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


class _Named(Partial):
    metadata: _Meta


def from_api(obj: bytes | dict[str, Any]) -> EndpointSlice:
    """The fact in a discovery.k8s.io/v1 EndpointSlice; ValueError names the field that has another type."""
    return _fact(decode_partial(obj, _Slice))


def decode(data: bytes) -> tuple[tuple[str, str], EndpointSlice | None]:
    """For a reflector: key and fact. An object whose fields have other types becomes a fact that says so."""
    try:
        fact = _fact(decode_partial(data, _Slice))
    except ValueError as wrong:
        meta = decode_partial(data, _Named).metadata
        fact = msgspec.structs.replace(_fact(_Slice(meta)), malformed=str(wrong))
    return fact.key, fact


def _fact(obj: _Slice) -> EndpointSlice:
    meta = obj.metadata
    labels = meta.labels or {}
    return EndpointSlice(
        namespace=meta.namespace,
        name=meta.name,
        service=labels.get(SERVICE_LABEL, ""),
        address_type=obj.address_type,
        endpoints=tuple(map(_endpoint, obj.endpoints or ())),
        ports=tuple(
            EndpointPort(port.name or "", port.protocol or "TCP", port.port or 0, port.app_protocol or "")
            for port in obj.ports or ()
        ),
        proxy_name=labels.get(PROXY_NAME_LABEL, ""),
        headless=HEADLESS_LABEL in labels,
        changed=(meta.annotations or {}).get(CHANGE_ANNOTATION, ""),
    )


NO_CONDITIONS = _Conditions()


def _endpoint(endpoint: _Endpoint) -> Endpoint:
    conditions = endpoint.conditions or NO_CONDITIONS
    hints = endpoint.hints
    target = endpoint.target_ref
    return Endpoint(
        addresses=tuple(endpoint.addresses or ()),
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=bool(conditions.terminating),
        node=endpoint.node_name or "",
        zone=endpoint.zone or "",
        hint_zones=tuple(zone.name for zone in hints.for_zones or ()) if hints else (),
        hint_nodes=tuple(node.name for node in hints.for_nodes or ()) if hints else (),
        hostname=endpoint.hostname or "",
        target=target.name if target and target.kind == "Pod" else "",
    )
