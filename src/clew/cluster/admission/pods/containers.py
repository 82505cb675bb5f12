"""The containers of a pod: names, images, ports, mounts; environment, probes and resources have their own modules."""

from collections.abc import Iterator, Mapping
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    not_found,
    one_of,
    required,
    unsupported,
)
from clew.cluster.admission.pods.environment import environment_errors
from clew.cluster.admission.pods.probes import lifecycle_errors, probe_errors
from clew.cluster.admission.pods.resources import resource_errors
from clew.cluster.admission.pods.security import security_errors

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")


def container_errors(spec: Object, at: str, volumes: Mapping[str, Object]) -> Iterator[FieldError]:
    """All containers of a spec. `volumes` by name, for the mounts."""
    seen: set[str] = set()
    if not spec.get("containers"):
        yield required(f"{at}.containers")
    for group in ("containers", "initContainers"):
        taken: set[str] = set()
        for index, container in enumerate(spec.get(group) or []):
            here = f"{at}.{group}[{index}]"
            yield from _name(container, here, seen)
            yield from one_container(container, here, volumes, host_network=bool(spec.get("hostNetwork")))
            yield from _host_ports(container, here, taken)
            if group == "initContainers":
                yield from _init(container, here)


def _name(container: Object, at: str, seen: set[str]) -> Iterator[FieldError]:
    name = container.get("name") or ""
    if not name:
        yield required(f"{at}.name")
        return
    yield from each_invalid(f"{at}.name", name, names.label(name))
    if name in seen:
        yield duplicate(f"{at}.name", name)
    seen.add(name)


def one_container(
    container: Object, at: str, volumes: Mapping[str, Object], *, host_network: bool
) -> Iterator[FieldError]:
    """Everything but the name, which depends on the other containers."""
    image = container.get("image") or ""
    if not image:
        yield required(f"{at}.image")
    elif image != image.strip():
        yield invalid(f"{at}.image", image, "must not have leading or trailing whitespace")
    yield from _ports(container.get("ports") or [], f"{at}.ports", host_network=host_network)
    yield from environment_errors(container, at)
    yield from _mounts(container.get("volumeMounts") or [], f"{at}.volumeMounts", volumes)
    yield from resource_errors(container.get("resources") or {}, f"{at}.resources")
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field):
            yield from probe_errors(container[field], f"{at}.{field}", field)
    yield from lifecycle_errors(container.get("lifecycle") or {}, f"{at}.lifecycle")
    yield from one_of(f"{at}.imagePullPolicy", container.get("imagePullPolicy"), _PULL_POLICIES)
    yield from one_of(f"{at}.terminationMessagePolicy", container.get("terminationMessagePolicy"), _MESSAGE_POLICIES)
    yield from security_errors(container.get("securityContext") or {}, f"{at}.securityContext")


def _init(container: Object, at: str) -> Iterator[FieldError]:
    """Init containers run to their end, so that only sidecars can be probed."""
    policy = container.get("restartPolicy")
    if policy is not None and policy != "Always":
        yield unsupported(f"{at}.restartPolicy", policy, ("Always",))
    if policy != "Always":
        for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(field):
                yield forbidden(f"{at}.{field}", "may not be set for init containers without restartPolicy=Always")


def _ports(ports: list[Object], at: str, *, host_network: bool) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{at}[{index}]"
        name = port.get("name") or ""
        if name:
            problems = names.port_name(name)
            yield from each_invalid(f"{here}.name", name, problems)
            if not problems and name in seen:
                yield duplicate(f"{here}.name", name)
            seen.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            yield required(f"{here}.containerPort")
        else:
            yield from each_invalid(f"{here}.containerPort", number, names.port_number(number))
        if host:
            yield from each_invalid(f"{here}.hostPort", host, names.port_number(host))
            if host_network and host != number:
                yield invalid(f"{here}.containerPort", number, "must match `hostPort` when `hostNetwork` is true")
        yield from one_of(f"{here}.protocol", port.get("protocol"), PROTOCOLS)


def _host_ports(container: Object, at: str, taken: set[str]) -> Iterator[FieldError]:
    """Two containers of a pod cannot hold one port of the node."""
    for index, port in enumerate(container.get("ports") or []):
        if port.get("hostPort"):
            place = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if place in taken:
                yield duplicate(f"{at}.ports[{index}].hostPort", place)
            taken.add(place)


def _mounts(mounts: list[Object], at: str, volumes: Mapping[str, Object]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        here = f"{at}[{index}]"
        name, path = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{here}.name")
        elif name not in volumes:
            yield not_found(f"{here}.name", name)
        if not path:
            yield required(f"{here}.mountPath")
        if path in seen:
            yield invalid(f"{here}.mountPath", path, "must be unique")
        seen.add(path)
        yield from _sub_paths(mount, here)
        propagation = mount.get("mountPropagation")
        if propagation is not None and propagation not in _PROPAGATIONS:
            yield unsupported(f"{here}.mountPropagation", propagation, _PROPAGATIONS)


def _sub_paths(mount: Object, at: str) -> Iterator[FieldError]:
    for field in ("subPath", "subPathExpr"):
        value: Any = mount.get(field) or ""
        yield from each_invalid(f"{at}.{field}", value, names.local_path(value))
    if mount.get("subPath") and mount.get("subPathExpr"):
        yield invalid(f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
