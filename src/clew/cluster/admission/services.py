"""The rules of Services, Endpoints and EndpointSlices."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, duplicate, forbidden, invalid, required, unsupported
from clew.cluster.admission.metadata import label_errors

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_MOST_ENDPOINTS, _MOST_AFFINITY = 1000, 86_400


def service_errors(service: Object) -> Iterator[FieldError]:
    spec = service.get("spec") or {}
    kind = spec.get("type")
    if kind not in _TYPES:
        yield unsupported("spec.type", kind, _TYPES)
    headless = spec.get("clusterIP") == "None"
    if kind == "ExternalName":
        yield from _external_name(spec)
    elif not spec.get("ports") and not headless:
        yield required("spec.ports")
    if headless and kind in {"LoadBalancer", "NodePort"}:
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    yield from _service_ports(spec)
    yield from label_errors(spec.get("selector") or {}, "spec.selector")
    for index, ip in enumerate(spec.get("clusterIPs") or [spec.get("clusterIP") or ""]):
        if ip and ip != "None" and not names.is_ip(ip):
            yield invalid(f"spec.clusterIPs[{index}]", ip, _IP_TEXT)
    yield from _addresses(spec)
    yield from _policies(spec)


def _external_name(spec: Object) -> Iterator[FieldError]:
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        yield required("spec.externalName")
    elif not names.is_subdomain(name):
        yield invalid("spec.externalName", name, names.SUBDOMAIN_TEXT)
    if spec.get("clusterIP"):
        yield forbidden("spec.clusterIPs[0]", "may not be set when `type` is 'ExternalName'")


def _service_ports(spec: Object) -> Iterator[FieldError]:
    ports = spec.get("ports") or []
    seen: set[str] = set()
    taken: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{at}.name")
        elif name and not names.is_label(name):
            yield invalid(f"{at}.name", name, names.LABEL_TEXT)
        elif name and name in seen:
            yield duplicate(f"{at}.name", name)
        seen.add(name)
        if not names.is_port(port.get("port")):
            yield invalid(f"{at}.port", port.get("port", 0), names.PORT_TEXT)
        if port.get("protocol") not in _PROTOCOLS:
            yield unsupported(f"{at}.protocol", port.get("protocol"), _PROTOCOLS)
        yield from _target(port.get("targetPort"), f"{at}.targetPort")
        if port.get("nodePort") and spec.get("type") == "ClusterIP":
            yield forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
        key = (port.get("protocol"), port.get("port"))
        if key in taken:
            yield duplicate(at, {"protocol": key[0], "port": key[1]})
        taken.add(key)


def _target(target: Any, at: str) -> Iterator[FieldError]:
    if isinstance(target, str):
        if not names.is_port_name(target):
            yield invalid(at, target, "must be a port name: up to 15 of a-z, 0-9 and '-', with at least one letter")
    elif target is not None and not names.is_port(target):
        yield invalid(at, target, names.PORT_TEXT)


def _addresses(spec: Object) -> Iterator[FieldError]:
    for index, ip in enumerate(spec.get("externalIPs") or []):
        if not names.is_ip(ip):
            yield invalid(f"spec.externalIPs[{index}]", ip, _IP_TEXT)
        else:
            yield from special_address(ip, f"spec.externalIPs[{index}]")
    for index, text in enumerate(spec.get("loadBalancerSourceRanges") or []):
        if spec.get("type") != "LoadBalancer":
            yield forbidden("spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
        try:
            ip_network(str(text).strip(), strict=False)
        except ValueError:
            yield invalid(
                f"spec.loadBalancerSourceRanges[{index}]", text,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            )  # fmt: skip


def _policies(spec: Object) -> Iterator[FieldError]:
    affinity = spec.get("sessionAffinity")
    if affinity not in {"ClientIP", "None"}:
        yield unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is not None and not 0 < seconds <= _MOST_AFFINITY:
        yield invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds,
            f"must be greater than 0 and less than {_MOST_AFFINITY}",
        )  # fmt: skip
    for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if spec.get(field) and spec[field] not in _POLICIES:
            yield unsupported(f"spec.{field}", spec[field], _POLICIES)
    outward = spec.get("type") in {"NodePort", "LoadBalancer"} or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy") and not outward:
        yield invalid(
            "spec.externalTrafficPolicy",
            spec["externalTrafficPolicy"],
            "may only be set for externally-accessible services",
        )
    if spec.get("loadBalancerClass") and spec.get("type") != "LoadBalancer":
        yield forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")


def service_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    same = after.get("type") != "ExternalName" and before.get("type") != "ExternalName"
    if same and before.get("clusterIP") and after.get("clusterIP") != before["clusterIP"]:
        yield invalid("spec.clusterIPs[0]", [after.get("clusterIP")], "field is immutable")
    if (
        same
        and before.get("ipFamilies")
        and (after.get("ipFamilies") or before["ipFamilies"])[:1] != before["ipFamilies"][:1]
    ):
        yield invalid("spec.ipFamilies[0]", after["ipFamilies"][0], "may not change once set")
    if (
        before.get("loadBalancerClass")
        and after.get("loadBalancerClass") != before["loadBalancerClass"]
        and after.get("type") == "LoadBalancer"
    ):
        yield invalid("spec.loadBalancerClass", after.get("loadBalancerClass"), "may not change once set")


def special_address(text: str, at: str) -> Iterator[FieldError]:
    """No endpoint may be a loopback, link-local, multicast or unspecified address: nodes would be reached by them."""
    ip = ip_address(text)
    if ip.is_unspecified:
        yield invalid(at, text, "may not be unspecified (0.0.0.0 or ::)")
    if ip.is_loopback:
        yield invalid(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if ip.is_link_local:
        yield invalid(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if ip.is_multicast:
        yield invalid(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def endpoints_errors(endpoints: Object) -> Iterator[FieldError]:
    for number, subset in enumerate(endpoints.get("subsets") or []):
        at = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(at, "must specify `addresses` or `notReadyAddresses`")
        for group in ("addresses", "notReadyAddresses"):
            for index, entry in enumerate(subset.get(group) or []):
                yield from _address(entry.get("ip") or "", f"{at}.{group}[{index}].ip")
        ports = subset.get("ports") or []
        for index, port in enumerate(ports):
            if not names.is_port(port.get("port")):
                yield invalid(f"{at}.ports[{index}].port", port.get("port", 0), names.PORT_TEXT)
            if len(ports) > 1 and not port.get("name"):
                yield required(f"{at}.ports[{index}].name")


def _address(ip: str, at: str) -> Iterator[FieldError]:
    if not names.is_ip(ip):
        yield invalid(at, ip, _IP_TEXT)
    else:
        yield from special_address(ip, at)


def endpoint_slice_errors(part: Object) -> Iterator[FieldError]:
    kind = part.get("addressType")
    if not kind:
        yield required("addressType")
    elif kind not in {"FQDN", "IPv4", "IPv6"}:
        yield unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    endpoints = part.get("endpoints") or []
    if len(endpoints) > _MOST_ENDPOINTS:
        yield FieldError("endpoints", "FieldValueTooLong", None, f"must have at most {_MOST_ENDPOINTS} items")
    for number, endpoint in enumerate(endpoints):
        at = f"endpoints[{number}]"
        addresses = endpoint.get("addresses") or []
        if not addresses:
            yield required(f"{at}.addresses", "must contain at least 1 address")
        for index, text in enumerate(addresses):
            yield from _slice_address(str(kind), text, f"{at}.addresses[{index}]")
        if endpoint.get("hostname") and not names.is_label(endpoint["hostname"]):
            yield invalid(f"{at}.hostname", endpoint["hostname"], names.LABEL_TEXT)
    seen: set[str] = set()
    for number, port in enumerate(part.get("ports") or []):
        name = port.get("name") or ""
        if name in seen:
            yield duplicate(f"ports[{number}].name", name)
        seen.add(name)
        if port.get("port") is not None and not names.is_port(port["port"]):
            yield invalid(f"ports[{number}].port", port["port"], names.PORT_TEXT)
        if port.get("protocol") not in _PROTOCOLS:
            yield unsupported(f"ports[{number}].protocol", port.get("protocol"), _PROTOCOLS)


def _slice_address(kind: str, text: str, at: str) -> Iterator[FieldError]:
    if kind == "FQDN":
        if not names.is_subdomain(text):
            yield invalid(at, text, names.SUBDOMAIN_TEXT)
        return
    if not names.is_ip(text) or (":" in text) != (kind == "IPv6"):
        yield invalid(at, text, f"must be an {kind} address")
        return
    yield from special_address(text, at)


def endpoint_slice_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    if new.get("addressType") != old.get("addressType"):
        yield invalid("addressType", new.get("addressType"), "field is immutable")
