"""A container's environment, and which process its image and spec make together. Pure but for the look-ups given."""

import re
from collections.abc import Callable, Mapping

from clew.api.objects import Object, dig
from clew.base.errors import WorldError
from clew.cluster.images.image import Image

_REFERENCE = re.compile(r"\$(?:\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
Lookup = Callable[[str, str], Mapping[str, str] | None]  # kind ("ConfigMap", "Secret"), name -> data


class ConfigError(WorldError):
    """The container cannot be made yet (CreateContainerConfigError): something it refers to is not there."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """The text with references to known variables replaced; a doubled dollar is one."""

    def one(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return known.get(match.group(1), match.group())

    return _REFERENCE.sub(one, text)


def field_value(pod: Object, path: str) -> str:
    """A field of the downward API, such as `metadata.name` or `status.podIP`."""
    if "['" in path:
        base, _, key = path.partition("['")
        return str((dig(pod, *base.split(".")) or {}).get(key.removesuffix("']"), ""))
    found = dig(pod, *path.split("."))
    if path == "status.podIPs":
        return ",".join(each["ip"] for each in found or [])
    if isinstance(found, Mapping):
        return "".join(f'{key}="{value}"\n' for key, value in sorted(found.items()))
    return "" if found is None else str(found)


def environment(
    pod: Object, container: Object, image: Image, base: Mapping[str, str], lookup: Lookup
) -> dict[str, str]:
    """All variables in order; ConfigError names the object or key that is missing."""
    made = dict(each.partition("=")[::2] for each in image.env)
    made.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    made |= base
    for source in container.get("envFrom") or ():
        for kind in ("configMapRef", "secretRef"):
            if source.get(kind):
                data = _data(kind.removesuffix("Ref"), source[kind], lookup)
                made |= {source.get("prefix", "") + key: value for key, value in data.items()}
    for variable in container.get("env") or ():
        value = _value(pod, container, variable, made, lookup)
        if value is not None:
            made[variable["name"]] = value
    return made


def _data(kind: str, reference: Object, lookup: Lookup) -> Mapping[str, str]:
    proper = "ConfigMap" if kind == "configMap" else "Secret"
    data = lookup(proper, reference["name"])
    if data is None and not reference.get("optional"):
        raise ConfigError(f'{proper.lower()} "{reference["name"]}" not found')
    return data or {}


def _value(pod: Object, container: Object, variable: Object, known: Mapping[str, str], lookup: Lookup) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value") or "", known)
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if source.get("resourceFieldRef"):
        group, _, name = source["resourceFieldRef"]["resource"].partition(".")
        return str(dig(container, "resources", group, name) or "0")
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind):
            reference = source[kind]
            data = _data(kind.removesuffix("KeyRef"), reference, lookup)
            if reference["key"] not in data and not reference.get("optional"):
                raise ConfigError(
                    f"couldn't find key {reference['key']} in {kind.removesuffix('KeyRef')} {reference['name']}"
                )
            return data.get(reference["key"])
    return None


def command(container: Object, image: Image, known: Mapping[str, str]) -> tuple[str, ...]:
    """The spec's command replaces the image's entrypoint and drops its cmd; args replace cmd."""
    entry = tuple(container.get("command") or ()) or image.entrypoint
    args = tuple(container.get("args") or ()) or (() if container.get("command") else image.cmd)
    return tuple(expand(each, known) for each in (*entry, *args))
