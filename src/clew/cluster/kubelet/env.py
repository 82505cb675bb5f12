"""A container's environment and command line, from its spec, its image and the objects it refers to. Pure.

Precedence and expansion as documented for EnvVar, EnvFromSource, fieldRef and resourceFieldRef.
"""

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from clew.api.objects import Object, dig
from clew.api.quantity import parse
from clew.base.errors import WorldError
from clew.cluster.images import Image

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")

Lookup = Callable[[str, str], Mapping[str, str] | None]  # ("ConfigMap" | "Secret", name) -> its data as text


class ConfigError(WorldError):
    """A container cannot be made yet: what it refers to is not there (CreateContainerConfigError)."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """The text with each `$(NAME)` that is known replaced; `$$` is one dollar, what is unknown stays."""

    def one(match: re.Match[str]) -> str:
        return "$" if match.group() == "$$" else known.get(match.group(1), match.group())

    return _REFERENCE.sub(one, text)


def field_value(pod: Object, path: str) -> str:
    """The value of a fieldRef: `metadata.name`, `status.podIP`, `metadata.labels['app']`."""
    if "['" in path:
        base, _, key = path.partition("['")
        return str((dig(pod, *base.split(".")) or {}).get(key.removesuffix("']"), ""))
    if path in {"status.podIPs", "status.hostIPs"}:
        return ",".join(each["ip"] for each in dig(pod, *path.split(".")) or ())
    if path == "spec.serviceAccountName":
        return str(dig(pod, "spec", "serviceAccountName") or "default")
    found = dig(pod, *path.split("."))
    if isinstance(found, Mapping):
        return "\n".join(f'{key}="{_quoted(str(value))}"' for key, value in sorted(found.items()))
    return "" if found is None else str(found)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(pod: Object, container: Object, selector: Object, allocatable: Mapping[str, Fraction | int]) -> str:
    """The value of a resourceFieldRef (`limits.cpu`, `requests.memory`), divided and rounded up."""
    if selector.get("containerName"):
        listed = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
        container = next((each for each in listed if each["name"] == selector["containerName"]), container)
    side, _, name = str(selector["resource"]).partition(".")
    written = dig(container, "resources", side, name)
    if written is None and side == "requests":
        written = dig(container, "resources", "limits", name)
    amount = parse(written) if written is not None else (allocatable.get(name, 0) if side == "limits" else 0)
    divisor = parse(selector.get("divisor") or "1") or 1
    return str(math.ceil(Fraction(amount) / Fraction(divisor)))


class Environment:
    """Builds one container's variables; `services` are those of Service links."""

    def __init__(
        self, pod: Object, container: Object, lookup: Lookup, allocatable: Mapping[str, Fraction | int]
    ) -> None:
        self._pod = pod
        self._container = container
        self._lookup = lookup
        self._allocatable = allocatable

    def build(self, image: Image, services: Mapping[str, str], hostname: str) -> dict[str, str]:
        """In order: the image's, the hostname, Services, envFrom, env. ConfigError names what is missing."""
        made = {"PATH": PATH} | dict(each.partition("=")[::2] for each in image.env)
        made["HOSTNAME"] = hostname
        made |= services
        for source in self._container.get("envFrom") or ():
            made |= self._from(source)
        for variable in self._container.get("env") or ():
            value = self._value(variable, made)
            if value is not None:
                made[variable["name"]] = value
        return made

    def _from(self, source: Object) -> dict[str, str]:
        prefix = source.get("prefix") or ""
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if source.get(field):
                data = self._data(kind, source[field])
                return {prefix + key: value for key, value in data.items()}
        return {}

    def _value(self, variable: Object, known: Mapping[str, str]) -> str | None:
        source = variable.get("valueFrom")
        if not source:
            return expand(variable.get("value") or "", known)
        if source.get("fieldRef"):
            return field_value(self._pod, source["fieldRef"]["fieldPath"])
        if source.get("resourceFieldRef"):
            return resource_value(self._pod, self._container, source["resourceFieldRef"], self._allocatable)
        for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if source.get(field):
                return self._key(kind, source[field])
        return None

    def _key(self, kind: str, reference: Object) -> str | None:
        data = self._data(kind, reference)
        if reference["key"] in data:
            return data[reference["key"]]
        if reference.get("optional"):
            return None
        space = self._pod["metadata"]["namespace"]
        raise ConfigError(f"couldn't find key {reference['key']} in {kind} {space}/{reference.get('name')}")

    def _data(self, kind: str, reference: Object) -> Mapping[str, str]:
        name = reference.get("name") or ""
        data = self._lookup(kind, name)
        if data is None and not reference.get("optional"):
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        return data or {}


def references(container: Object) -> set[tuple[str, str]]:
    """The (kind, name) of every object the environment is made from."""
    found = set()
    fields = (("configMapRef", "ConfigMap"), ("secretRef", "Secret"))
    for source in container.get("envFrom") or ():
        found |= {(kind, source[field].get("name", "")) for field, kind in fields if source.get(field)}
    keys = (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret"))
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        found |= {(kind, source[field].get("name", "")) for field, kind in keys if source.get(field)}
    return found


def command(container: Object, image: Image, known: Mapping[str, str]) -> tuple[str, ...]:
    """The spec's command replaces the image's entrypoint and drops its arguments; args replace the latter."""
    entry = tuple(container.get("command") or ()) or image.entrypoint
    args = tuple(container.get("args") or ()) or (() if container.get("command") else image.cmd)
    return tuple(expand(each, known) for each in (*entry, *args))
