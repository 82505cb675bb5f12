"""The rules of Services. Which addresses and node ports are free is the allocators' matter.

Source of rules and texts: k8s.io/kubernetes pkg/apis/core/validation, ValidateService.
"""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.base.value import Value
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    one_of,
    required,
    unsupported,
)
from clew.cluster.admission.metadata import label_errors

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_AFFINITIES = ("ClientIP", "None")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_MODE, _FORMER_MODE = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
_FORMER_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_MOST_AFFINITY = 86_400  # seconds: one day


class _Port(Value, rename="pascal"):
    """A ServicePort as the real server prints it: its own type, with Go's names."""

    name: str = ""
    protocol: Any = ""
    app_protocol: None = None
    port: Any = 0
    target_port: int = 0
    node_port: int = 0


def service_errors(service: Object) -> Iterator[FieldError]:
    yield from _annotations(service)
    spec = service.get("spec") or {}
    kind = spec.get("type")
    yield from one_of("spec.type", kind, _TYPES)
    if kind == "ExternalName":
        yield from _external_name(spec)
    elif not spec.get("ports") and not _is_headless(spec):
        yield required("spec.ports")
    if _is_headless(spec) and kind in ("LoadBalancer", "NodePort"):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    yield from _ports(spec)
    yield from label_errors(spec.get("selector") or {}, "spec.selector")
    yield from _affinity(spec)
    if kind != "ExternalName":
        yield from _cluster_ips(spec)
        yield from _families(spec)
    yield from _outside(spec)
    yield from _policies(spec)


def _annotations(service: Object) -> Iterator[FieldError]:
    """Those that were fields' forerunners: what they say is held to the fields' rules."""
    notes, spec = service["metadata"].get("annotations") or {}, service.get("spec") or {}
    if _MODE in notes and notes.get(_FORMER_MODE, notes[_MODE]) != notes[_MODE]:
        text = f"must match annotations[{_FORMER_MODE}] when both are specified"
        yield invalid(f"metadata.annotations[{_MODE}]", notes[_MODE], text)
    if _FORMER_RANGES in notes and not spec.get("loadBalancerSourceRanges"):
        at = f"metadata.annotations[{_FORMER_RANGES}]"
        if spec.get("type") != "LoadBalancer":
            yield forbidden(at, "may only be used when `type` is 'LoadBalancer'")
        said = notes[_FORMER_RANGES].strip()
        for text in (part.strip() for part in said.split(",") if said):
            yield from each_invalid(at, text, names.cidr(text))


def _is_headless(spec: Object) -> bool:
    return spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None"


def _external_name(spec: Object) -> Iterator[FieldError]:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field) or (field == "clusterIPs" and spec.get("clusterIP")):
            yield forbidden(f"spec.{field}", "may not be set for ExternalName services")
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        yield required("spec.externalName")
    else:
        yield from each_invalid("spec.externalName", name, names.subdomain(name))


def _ports(spec: Object) -> Iterator[FieldError]:
    ports = spec.get("ports") or []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"spec.ports[{index}]", port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{at}.name")
        elif name:
            yield from each_invalid(f"{at}.name", name, names.label(name))
            if name in seen:
                yield duplicate(f"{at}.name", name)
        seen.add(name)
        yield from each_invalid(f"{at}.port", port.get("port", 0), names.port_number(port.get("port")))
        yield from one_of(f"{at}.protocol", port.get("protocol"), _PROTOCOLS)
        target = port.get("targetPort")
        if target is not None:
            yield from each_invalid(f"{at}.targetPort", target, names.port(target))
        protocol = port.get("appProtocol")
        if protocol is not None:
            yield from each_invalid(f"{at}.appProtocol", protocol, names.qualified(protocol))
        if port.get("nodePort") and spec.get("type") == "ClusterIP":
            yield forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
    yield from _same_ports(ports)


def _same_ports(ports: list[Object]) -> Iterator[FieldError]:
    taken: set[tuple[Any, Any]] = set()
    nodes: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        node = (port.get("protocol"), port.get("nodePort"))
        if node[1] and node in nodes:
            yield duplicate(f"spec.ports[{index}].nodePort", node[1])
        nodes.add(node)
        key = (port.get("protocol"), port.get("port"))
        if key in taken:
            yield duplicate(f"spec.ports[{index}]", _Port(protocol=key[0], port=key[1]))
        taken.add(key)


def _affinity(spec: Object) -> Iterator[FieldError]:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    yield from one_of("spec.sessionAffinity", affinity, _AFFINITIES)
    if affinity == "None" and config is not None:
        yield forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        if seconds is None:
            yield required("spec.sessionAffinityConfig", "when session affinity type is ClientIP")
        elif not 0 < seconds <= _MOST_AFFINITY:
            yield invalid(at, seconds, f"must be greater than 0 and less than {_MOST_AFFINITY}")


def _cluster_ips(spec: Object) -> Iterator[FieldError]:
    single, several = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if several and not single:
        yield invalid("spec.clusterIPs", several, "must be empty when `clusterIP` is not specified")
    elif several and single != several[0]:
        yield invalid("spec.clusterIPs", several, "first value must match `clusterIP`")
    addresses = several or ([single] if single else [])
    if len(addresses) > 2:
        yield invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")
    if len(addresses) > 1 and "None" in addresses:
        yield invalid("spec.clusterIPs", addresses, "'None' must be the first and only value")
        return
    families: list[int] = []
    for index, text in enumerate(addresses):
        if text == "None":
            continue
        yield from each_invalid(f"spec.clusterIPs[{index}]", text, names.ip(text))
        address = names.parse_ip(text)
        if address is not None:
            families.append(address.version)
    if len(families) == 2 and len(set(families)) == 1:
        yield invalid("spec.clusterIPs", addresses, "may specify no more than one IP for each IP family")


def _families(spec: Object) -> Iterator[FieldError]:
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    if policy is not None and policy not in _FAMILY_POLICIES:
        yield unsupported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        elif family in families[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    addresses = [names.parse_ip(text) for text in spec.get("clusterIPs") or [spec.get("clusterIP") or ""]]
    for index, (family, address) in enumerate(zip(families, addresses, strict=False)):
        if address is not None and f"IPv{address.version}" != family:
            text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield invalid(f"spec.clusterIPs[{index}]", str(address), text)


def _outside(spec: Object) -> Iterator[FieldError]:
    """What makes a service reachable from outside the cluster."""
    for index, text in enumerate(spec.get("externalIPs") or []):
        at = f"spec.externalIPs[{index}]"
        yield from each_invalid(at, text, names.ip(text) or names.special_ip(text))
    balanced = spec.get("type") == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges and not balanced:
        yield forbidden("spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
    for index, text in enumerate(ranges):
        yield from each_invalid(f"spec.loadBalancerSourceRanges[{index}]", text, names.cidr(text.strip()))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        yield forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")
    name = spec.get("loadBalancerClass")
    if name is not None:
        yield from each_invalid("spec.loadBalancerClass", name, names.qualified(name))
        if not balanced:
            yield forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")


def _policies(spec: Object) -> Iterator[FieldError]:
    kind = spec.get("type")
    outward = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    policy = spec.get("externalTrafficPolicy")
    if policy and policy not in _POLICIES:
        yield unsupported("spec.externalTrafficPolicy", policy, _POLICIES)
    elif policy and not outward:
        yield invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    checked = spec.get("healthCheckNodePort") or 0
    if checked and not _is_checked(spec):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", checked, text)
    inward = spec.get("internalTrafficPolicy")
    if inward is not None and inward not in _POLICIES:
        yield unsupported("spec.internalTrafficPolicy", inward, _POLICIES)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        yield unsupported("spec.trafficDistribution", distribution, _DISTRIBUTIONS)


def _is_checked(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def service_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    """Addresses last as long as a service has them; only a turn to or from ExternalName changes them."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if after.get("type") == "ExternalName" or before.get("type") == "ExternalName":
        return
    headless = [_is_headless(spec) for spec in (before, after)]
    if not all(headless):
        yield from _kept_addresses(after, before)
    if not any(headless):
        yield from _kept_families(after, before)
    given = before.get("loadBalancerClass")
    if before.get("type") == after.get("type") == "LoadBalancer" and after.get("loadBalancerClass") != given:
        yield invalid("spec.loadBalancerClass", after.get("loadBalancerClass"), "may not change once set")
    checked = [spec.get("healthCheckNodePort") for spec in (before, after) if _is_checked(spec)]
    if len(checked) > 1 and checked[0] != checked[1]:
        yield forbidden("spec.healthCheckNodePort", "field is immutable")


def _kept_families(after: Object, before: Object) -> Iterator[FieldError]:
    was, now = (spec.get("ipFamilies") or [] for spec in (before, after))
    if was and not now:
        yield invalid("spec.ipFamilies[0]", now, "primary ipFamily can not be unset")
    elif was and now[0] != was[0]:
        yield invalid("spec.ipFamilies[0]", now, "may not change once set")


def _kept_addresses(after: Object, before: Object) -> Iterator[FieldError]:
    was = before.get("clusterIPs") or ([before["clusterIP"]] if before.get("clusterIP") else [])
    now = after.get("clusterIPs") or ([after["clusterIP"]] if after.get("clusterIP") else [])
    if was and not now:
        yield invalid("spec.clusterIPs[0]", now, "primary clusterIP can not be unset")
        return
    for index, (one, other) in enumerate(zip(was, now, strict=False)):
        if one != other:
            yield invalid(f"spec.clusterIPs[{index}]", now, "may not change once set")
