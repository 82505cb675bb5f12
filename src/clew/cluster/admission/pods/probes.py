"""Probes and lifecycle hooks: how the kubelet asks, and what it does before a container ends."""

from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, at_least, each_invalid, forbidden, invalid, one_of, required

_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def probe_errors(probe: Object, at: str, role: str) -> Iterator[FieldError]:
    """`role` is the container's field: readinessProbe may succeed slowly, the others end a container."""
    yield from _handler(probe, at, _PROBES)
    for field in _COUNTS:
        yield from at_least(f"{at}.{field}", probe.get(field))
    grace = probe.get("terminationGracePeriodSeconds")
    if role == "readinessProbe":
        if grace is not None:
            yield invalid(f"{at}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
        return
    if probe.get("successThreshold", 1) != 1:
        yield invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")
    if grace is not None and grace < 1:
        yield invalid(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def lifecycle_errors(lifecycle: Object, at: str) -> Iterator[FieldError]:
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            yield from _handler(lifecycle[hook], f"{at}.{hook}", _HOOKS)


def _handler(handler: Object, at: str, known: tuple[str, ...]) -> Iterator[FieldError]:
    given = [name for name in known if handler.get(name) is not None]
    if not given:
        yield required(at, "must specify a handler type")
    for name in given[1:]:
        yield forbidden(f"{at}.{name}", "may not specify more than 1 handler type")
    for name in given[:1]:
        yield from _one(name, handler[name], f"{at}.{name}")


def _one(name: str, action: Object, at: str) -> Iterator[FieldError]:
    if name == "exec" and not action.get("command"):
        yield required(f"{at}.command")
    if name in ("httpGet", "tcpSocket"):
        port = action.get("port", 0)
        yield from each_invalid(f"{at}.port", port, names.port(port))
    if name == "grpc":
        yield from each_invalid(f"{at}.port", action.get("port", 0), names.port_number(action.get("port", 0)))
    if name == "httpGet":
        if not action.get("path"):
            yield required(f"{at}.path")
        yield from one_of(f"{at}.scheme", action.get("scheme"), ("HTTP", "HTTPS"))
        for index, header in enumerate(action.get("httpHeaders") or []):
            title = header.get("name") or ""
            yield from each_invalid(f"{at}.httpHeaders[{index}].name", title, names.header_name(title))
