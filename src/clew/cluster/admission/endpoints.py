"""The rules of Endpoints and EndpointSlices.

Source of rules and texts: k8s.io/kubernetes pkg/apis/core/validation and pkg/apis/discovery/validation.
"""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    each_invalid,
    invalid,
    one_of,
    required,
    too_many,
)

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ENDPOINTS, _MOST_PORTS, _MOST_ADDRESSES, _MOST_HINTS = 1000, 20_000, 100, 8


def endpoints_errors(endpoints: Object) -> Iterator[FieldError]:
    for number, subset in enumerate(endpoints.get("subsets") or []):
        at = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(at, "must specify `addresses` or `notReadyAddresses`")
        for group in ("addresses", "notReadyAddresses"):
            for index, entry in enumerate(subset.get(group) or []):
                yield from _address(entry, f"{at}.{group}[{index}]")
        ports = subset.get("ports") or []
        for index, port in enumerate(ports):
            yield from _port(port, f"{at}.ports[{index}]", named=len(ports) > 1)


def _address(entry: Object, at: str) -> Iterator[FieldError]:
    ip = entry.get("ip") or ""
    yield from each_invalid(f"{at}.ip", ip, names.ip(ip) or names.special_ip(ip))
    if entry.get("hostname"):
        yield from each_invalid(f"{at}.hostname", entry["hostname"], names.label(entry["hostname"]))
    if entry.get("nodeName"):
        yield from each_invalid(f"{at}.nodeName", entry["nodeName"], names.subdomain(entry["nodeName"]))


def _port(port: Object, at: str, *, named: bool) -> Iterator[FieldError]:
    name = port.get("name") or ""
    if named and not name:
        yield required(f"{at}.name")
    elif name:
        yield from each_invalid(f"{at}.name", name, names.label(name))
    yield from each_invalid(f"{at}.port", port.get("port", 0), names.port_number(port.get("port")))
    yield from one_of(f"{at}.protocol", port.get("protocol"), _PROTOCOLS)


def endpoint_slice_errors(part: Object) -> Iterator[FieldError]:
    kind = part.get("addressType") or ""
    yield from one_of("addressType", kind, _ADDRESS_TYPES)
    endpoints = part.get("endpoints") or []
    if len(endpoints) > _MOST_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), _MOST_ENDPOINTS)
    for number, endpoint in enumerate(endpoints):
        yield from _endpoint(endpoint, kind, f"endpoints[{number}]")
    ports = part.get("ports") or []
    if len(ports) > _MOST_PORTS:
        yield too_many("ports", len(ports), _MOST_PORTS)
    seen: set[str] = set()
    for number, port in enumerate(ports):
        name = port.get("name") or ""
        if name:
            yield from each_invalid(f"ports[{number}].name", name, names.label(name))
        if name in seen:
            yield duplicate(f"ports[{number}].name", name)
        seen.add(name)
        if port.get("port") is not None:
            yield from each_invalid(f"ports[{number}].port", port["port"], names.port_number(port["port"]))
        yield from one_of(f"ports[{number}].protocol", port.get("protocol"), _PROTOCOLS)
        if port.get("appProtocol") is not None:
            problems = names.qualified(port["appProtocol"])
            yield from each_invalid(f"ports[{number}].appProtocol", port["appProtocol"], problems)


def _endpoint(endpoint: Object, kind: str, at: str) -> Iterator[FieldError]:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        yield required(f"{at}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MOST_ADDRESSES:
        yield too_many(f"{at}.addresses", len(addresses), _MOST_ADDRESSES)
    for index, text in enumerate(addresses):
        yield from _slice_address(kind, text, f"{at}.addresses[{index}]")
    for field, rule in (("hostname", names.label), ("nodeName", names.subdomain)):
        if endpoint.get(field):
            yield from each_invalid(f"{at}.{field}", endpoint[field], rule(endpoint[field]))
    for field, rule in (("forZones", names.label_value), ("forNodes", names.subdomain)):
        yield from _hints((endpoint.get("hints") or {}).get(field) or [], rule, f"{at}.hints.{field}")


def _hints(hints: list[Object], rule: names.Rule, at: str) -> Iterator[FieldError]:
    if len(hints) > _MOST_HINTS:
        yield too_many(at, len(hints), _MOST_HINTS)
        return
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        name = hint.get("name") or ""
        if name in seen:
            yield duplicate(f"{at}[{index}].name", name)
        seen.add(name)
        yield from each_invalid(f"{at}[{index}].name", name, rule(name))


def _slice_address(kind: str, text: Any, at: str) -> Iterator[FieldError]:
    if kind == "FQDN":
        yield from _domain(text, at)
    elif kind in _ADDRESS_TYPES:
        address = names.parse_ip(text)
        if address is None:
            yield invalid(at, text, names.IP_TEXT)
        elif f"IPv{address.version}" != kind:
            yield invalid(at, text, f"must be an {kind} address")
        else:
            yield from each_invalid(at, text, names.special_ip(text))


def _domain(text: str, at: str) -> Iterator[FieldError]:
    name = text.removesuffix(".")
    if not text:
        yield required(at)
    elif problems := names.subdomain(name):
        yield invalid(at, name, ",".join(problems))
    elif "." not in name:
        yield invalid(at, name, "should be a domain with at least two segments separated by dots")
    else:
        wrong = ((label, problems) for label in name.split(".") if (problems := names.label(label)))
        yield from (invalid(at, label, ",".join(problems)) for label, problems in wrong)


def endpoint_slice_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    kind = new.get("addressType")
    if kind != old.get("addressType") and kind in _ADDRESS_TYPES:
        yield invalid("addressType", kind, "field is immutable")
