"""The rules of a Service's status: what a load balancer may say of where the service can be reached.

Source of rules and texts: k8s.io/kubernetes pkg/apis/core/validation, ValidateLoadBalancerStatus.
"""

from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, each_invalid, forbidden, invalid, required, unsupported

_AT = "status.loadBalancer.ingress"
_MODES = ("Proxy", "VIP")


def service_status_errors(service: Object) -> Iterator[FieldError]:
    ways_in = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if ways_in and (service.get("spec") or {}).get("type") != "LoadBalancer":
        yield forbidden(_AT, 'may only be used when `spec.type` is "LoadBalancer"')
        return
    for index, way_in in enumerate(ways_in):
        yield from _way_in(way_in, f"{_AT}[{index}]")


def _way_in(way_in: Object, at: str) -> Iterator[FieldError]:
    ip, mode, hostname = (way_in.get(field) for field in ("ip", "ipMode", "hostname"))
    if ip:
        yield from each_invalid(f"{at}.ip", ip, names.ip(ip))
    if ip and mode is None:
        yield required(f"{at}.ipMode", "must be specified when `ip` is set")
    elif mode is not None and not ip:
        yield forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set")
    elif mode is not None and mode not in _MODES:
        yield unsupported(f"{at}.ipMode", mode, _MODES)
    if hostname:
        yield from each_invalid(f"{at}.hostname", hostname, names.subdomain(hostname))
        if names.parse_ip(hostname) is not None:
            yield invalid(f"{at}.hostname", hostname, "must be a DNS name, not an IP address")
