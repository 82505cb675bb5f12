"""The environment of a container: variables, and where their values come from."""

import re
from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, each_invalid, invalid, required, unsupported

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_POD_FIELDS = frozenset({
    *_FIELDS, *_VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.hostNetwork",
})  # fmt: skip
_RESOURCES = tuple(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]")


def environment_errors(container: Object, at: str) -> Iterator[FieldError]:
    for index, variable in enumerate(container.get("env") or []):
        here = f"{at}.env[{index}]"
        name = variable.get("name") or ""
        if not name:
            yield required(f"{here}.name")
        else:
            yield from each_invalid(f"{here}.name", name, names.env_name(name))
        if variable.get("valueFrom") is not None:
            yield from _source(variable, f"{here}.valueFrom")
    for index, source in enumerate(container.get("envFrom") or []):
        yield from _whole(source, f"{at}.envFrom[{index}]")


def _source(variable: Object, at: str) -> Iterator[FieldError]:
    source = variable["valueFrom"]
    given = [name for name in _SOURCES if source.get(name) is not None]
    if not given:
        known = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield invalid(at, "", f"must specify one of: {known}")
    if variable.get("value"):
        yield invalid(at, "", "may not be specified when `value` is not empty")
    elif len(given) > 1:
        yield invalid(at, "", "may not have more than one field specified at a time")
    for name in given:
        here, reference = f"{at}.{name}", source[name]
        if name == "fieldRef":
            yield from field_errors(reference, here, _FIELDS)
        elif name == "resourceFieldRef":
            yield from resource_field_errors(reference, here, needs_container=False)
        elif name in ("configMapKeyRef", "secretKeyRef"):
            yield from _key(reference, here)


def _key(reference: Object, at: str) -> Iterator[FieldError]:
    if not reference.get("name"):
        yield required(f"{at}.name")
    key = reference.get("key") or ""
    if not key:
        yield required(f"{at}.key")
    else:
        yield from each_invalid(f"{at}.key", key, names.config_key(key))


def field_errors(reference: Object, at: str, allowed: tuple[str, ...] = _VOLUME_FIELDS) -> Iterator[FieldError]:
    """A reference to a field of the pod; by default those that a downward API volume offers."""
    if not reference.get("apiVersion"):
        yield required(f"{at}.apiVersion")
    path = reference.get("fieldPath") or ""
    if not path:
        yield required(f"{at}.fieldPath")
        return
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        yield from each_invalid(f"{at}.fieldPath", path, names.qualified(subscript[2].lower()))
    elif path not in _POD_FIELDS:
        yield invalid(f"{at}.fieldPath", path, f"error converting fieldPath: field label not supported: {path}")
    elif path not in allowed:
        yield unsupported(f"{at}.fieldPath", path, allowed)


def resource_field_errors(reference: Object, at: str, *, needs_container: bool) -> Iterator[FieldError]:
    if needs_container and not reference.get("containerName"):
        yield required(f"{at}.containerName")
    name = reference.get("resource") or ""
    if not name:
        yield required(f"{at}.resource")
    elif name not in _RESOURCES and ".hugepages-" not in name:
        yield unsupported(f"{at}.resource", name, _RESOURCES)


def _whole(source: Object, at: str) -> Iterator[FieldError]:
    prefix = source.get("prefix") or ""
    if prefix:
        yield from each_invalid(f"{at}.prefix", prefix, names.env_name(prefix))
    given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
    if not given:
        yield invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(given) > 1:
        yield invalid(at, "", "may not have more than one field specified at a time")
    for name in given:
        if not source[name].get("name"):
            yield required(f"{at}.{name}.name")
