"""The rules of a pod's spec, also inside the templates of workloads."""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object, clone
from clew.api.quantity import QuantityError, parse
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, duplicate, forbidden, invalid, required, unsupported

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_CHANGEABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    " (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was"
    " previously negative)"
)


def pod_errors(pod: Object) -> Iterator[FieldError]:
    yield from spec_errors(pod.get("spec") or {}, "spec")


def spec_errors(
    spec: Object, at: str, policies: tuple[str, ...] = ("Always", "OnFailure", "Never")
) -> Iterator[FieldError]:
    """`policies`: the restart policies that are allowed here."""
    volumes = yield from _volumes(spec.get("volumes") or [], f"{at}.volumes")
    seen: set[str] = set()
    if not spec.get("containers"):
        yield required(f"{at}.containers")
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            yield from _container(container, f"{at}.{group}[{index}]", volumes, seen, spec)
    if spec.get("restartPolicy") not in policies:
        yield unsupported(f"{at}.restartPolicy", spec.get("restartPolicy"), policies)
    yield from _dns(spec, at)
    for field in ("nodeName", "hostname", "subdomain"):
        check, text = (
            (names.is_subdomain, names.SUBDOMAIN_TEXT) if field == "nodeName" else (names.is_label, names.LABEL_TEXT)
        )
        if spec.get(field) and not check(spec[field]):
            yield invalid(f"{at}.{field}", spec[field], text)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield invalid(
            f"{at}.terminationGracePeriodSeconds",
            spec["terminationGracePeriodSeconds"],
            "must be greater than or equal to 0",
        )


def _volumes(volumes: list[Object], at: str) -> Any:
    """Yields errors and returns the volumes' names."""
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name") or ""
        if not name:
            yield required(f"{at}[{index}].name")
        elif not names.is_label(name):
            yield invalid(f"{at}[{index}].name", name, names.LABEL_TEXT)
        elif name in seen:
            yield duplicate(f"{at}[{index}].name", name)
        seen.add(name)
        if len(volume) > 2:
            yield forbidden(f"{at}[{index}]", "may not specify more than 1 volume type")
    return seen


def _container(container: Object, at: str, volumes: set[str], seen: set[str], spec: Object) -> Iterator[FieldError]:
    name = container.get("name") or ""
    if not name:
        yield required(f"{at}.name")
    elif not names.is_label(name):
        yield invalid(f"{at}.name", name, names.LABEL_TEXT)
    elif name in seen:
        yield duplicate(f"{at}.name", name)
    seen.add(name)
    image = container.get("image") or ""
    if not image:
        yield required(f"{at}.image")
    elif image != image.strip():
        yield invalid(f"{at}.image", image, "must not have leading or trailing whitespace")
    yield from _ports(container.get("ports") or [], f"{at}.ports", host_network=bool(spec.get("hostNetwork")))
    yield from _env(container, at)
    yield from _mounts(container.get("volumeMounts") or [], f"{at}.volumeMounts", volumes)
    yield from _resources(container.get("resources") or {}, f"{at}.resources")
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field):
            yield from _probe(container[field], f"{at}.{field}")
    policy = container.get("imagePullPolicy")
    if policy not in {"Always", "IfNotPresent", "Never"}:
        yield unsupported(f"{at}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never"))


def _ports(ports: list[Object], at: str, *, host_network: bool) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{at}[{index}]"
        name = port.get("name") or ""
        if name and not names.is_port_name(name):
            yield invalid(f"{here}.name", name, "must be up to 15 of a-z, 0-9 and '-', with at least one letter")
        elif name and name in seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        if "containerPort" not in port or port["containerPort"] == 0:
            yield required(f"{here}.containerPort")
        elif not names.is_port(port["containerPort"]):
            yield invalid(f"{here}.containerPort", port["containerPort"], names.PORT_TEXT)
        if port.get("hostPort"):
            if not names.is_port(port["hostPort"]):
                yield invalid(f"{here}.hostPort", port["hostPort"], names.PORT_TEXT)
            elif host_network and port["hostPort"] != port.get("containerPort"):
                yield invalid(
                    f"{here}.containerPort",
                    port.get("containerPort"),
                    "must match `hostPort` when `hostNetwork` is true",
                )
        if port.get("protocol") not in _PROTOCOLS:
            yield unsupported(f"{here}.protocol", port.get("protocol"), _PROTOCOLS)


def _env(container: Object, at: str) -> Iterator[FieldError]:
    for index, variable in enumerate(container.get("env") or []):
        name = variable.get("name") or ""
        here = f"{at}.env[{index}]"
        if not name:
            yield required(f"{here}.name")
        elif not names.is_env_name(name):
            yield invalid(
                f"{here}.name", name,
                "a valid environment variable name must consist only of letters, digits, '_', '-', or '.'",
            )  # fmt: skip
        if variable.get("value") and variable.get("valueFrom"):
            yield invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty")


def _mounts(mounts: list[Object], at: str, volumes: set[str]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        here = f"{at}[{index}]"
        if not mount.get("name"):
            yield required(f"{here}.name")
        elif mount["name"] not in volumes:
            yield FieldError(f"{here}.name", "FieldValueNotFound", mount["name"])
        path = mount.get("mountPath") or ""
        if not path:
            yield required(f"{here}.mountPath")
        elif path in seen:
            yield invalid(f"{here}.mountPath", path, "must be unique")
        seen.add(path)
        sub = mount.get("subPath") or ""
        if sub.startswith("/") or ".." in sub.split("/"):
            yield invalid(f"{here}.subPath", sub, "must be a relative path and must not contain '..'")


def _resources(resources: Object, at: str) -> Iterator[FieldError]:
    amounts: dict[str, dict[str, Any]] = {"requests": {}, "limits": {}}
    for group, found in amounts.items():
        for name, text in (resources.get(group) or {}).items():
            try:
                found[name] = parse(text)
            except QuantityError:
                yield invalid(f"{at}.{group}[{name}]", text, "must be a quantity such as 100m, 1 or 64Mi")
                continue
            if found[name] < 0:
                yield invalid(f"{at}.{group}[{name}]", text, "must be greater than or equal to 0")
    for name, wanted in amounts["requests"].items():
        if name in amounts["limits"] and wanted > amounts["limits"][name]:
            yield invalid(
                f"{at}.requests", resources["requests"][name],
                f"must be less than or equal to {name} limit of {resources['limits'][name]}",
            )  # fmt: skip


def _probe(probe: Object, at: str) -> Iterator[FieldError]:
    handlers = [name for name in _PROBE_HANDLERS if probe.get(name) is not None]
    if not handlers:
        yield required(at, "must specify a handler type")
    for extra in handlers[1:]:
        yield forbidden(f"{at}.{extra}", "may not specify more than 1 handler type")
    for name in ("httpGet", "tcpSocket"):
        port = (probe.get(name) or {}).get("port")
        if probe.get(name) is not None and not (
            names.is_port(port) or (isinstance(port, str) and names.is_port_name(port))
        ):
            yield invalid(f"{at}.{name}.port", port, names.PORT_TEXT)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if (probe.get(field) or 0) < 0:
            yield invalid(f"{at}.{field}", probe[field], "must be greater than or equal to 0")


def _dns(spec: Object, at: str) -> Iterator[FieldError]:
    policies = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    policy = spec.get("dnsPolicy")
    if policy not in policies:
        yield unsupported(f"{at}.dnsPolicy", policy, policies)
    config = spec.get("dnsConfig") or {}
    servers = config.get("nameservers") or []
    if policy == "None" and not servers:
        yield required(
            f"{at}.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if len(servers) > 3:
        yield invalid(f"{at}.dnsConfig.nameservers", servers, "must not have more than 3 nameservers")
    for index, server in enumerate(servers):
        if not names.is_ip(server):
            yield invalid(
                f"{at}.dnsConfig.nameservers[{index}]",
                server,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            )


def pod_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    """Only a few fields of a pod may change."""
    before, after = clone(old.get("spec") or {}), clone(new.get("spec") or {})
    for spec in (before, after):
        for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers"):
            spec.pop(field, None)
        for group in ("initContainers", "containers"):
            for container in spec.get(group) or []:
                container.pop("image", None)
    if before != after:
        yield forbidden("spec", f"pod updates may not change fields other than {_CHANGEABLE}")
    for group in ("initContainers", "containers"):
        for index, container in enumerate((new.get("spec") or {}).get(group) or []):
            if not container.get("image"):
                yield required(f"spec.{group}[{index}].image")
