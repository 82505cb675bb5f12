"""The volumes of a pod: one source each, and what each source needs."""

from collections.abc import Callable, Iterator

from clew.api.objects import Object
from clew.api.quantity import QuantityError, parse
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    required,
    unsupported,
)
from clew.cluster.admission.pods.environment import field_errors, resource_field_errors

_HOST_PATHS = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_PROJECTED = ("clusterTrustBundle", "configMap", "downwardAPI", "podCertificate", "secret", "serviceAccountToken")
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_LEAST_TOKEN, _MOST_TOKEN = 10 * 60, 1 << 32  # seconds


def volume_errors(volumes: list[Object], at: str) -> tuple[dict[str, Object], list[FieldError]]:
    """The volumes by name, for the mounts of containers, and what is wrong with them."""
    known: dict[str, Object] = {}
    found: list[FieldError] = []
    for index, volume in enumerate(volumes):
        here = f"{at}[{index}]"
        name = volume.get("name") or ""
        if not name:
            found.append(required(f"{here}.name"))
        else:
            found += each_invalid(f"{here}.name", name, names.label(name))
        if name in known:
            found.append(duplicate(f"{here}.name", name))
        known[name] = volume
        found += _source(volume, here)
    return known, found


def _source(volume: Object, at: str) -> Iterator[FieldError]:
    given = [name for name, value in volume.items() if name != "name" and value is not None]
    if not given:
        yield required(at, "must specify a volume type")
    for name in given[1:]:
        yield forbidden(f"{at}.{name}", "may not specify more than 1 volume type")
    for name in given[:1]:
        check = _CHECKS.get(name)
        if check:
            yield from check(volume[name], f"{at}.{name}")


def _host_path(source: Object, at: str) -> Iterator[FieldError]:
    path = source.get("path") or ""
    if not path:
        yield required(f"{at}.path")
    elif ".." in path.split("/"):
        yield invalid(f"{at}.path", path, "must not contain '..'")
    if source.get("type") is not None and source["type"] not in _HOST_PATHS:
        yield unsupported(f"{at}.type", source["type"], _HOST_PATHS)


def _empty_dir(source: Object, at: str) -> Iterator[FieldError]:
    limit = source.get("sizeLimit")
    try:
        negative = limit is not None and parse(limit) < 0
    except QuantityError as wrong:
        yield invalid(f"{at}.sizeLimit", limit, str(wrong))
        return
    if negative:
        yield forbidden(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _files(source: Object, at: str, name_field: str) -> Iterator[FieldError]:
    """A ConfigMap or Secret as files."""
    if name_field and not source.get(name_field):
        yield required(f"{at}.{name_field}")
    yield from _mode(source, at, "defaultMode")
    yield from _items(source, at)


def _items(source: Object, at: str) -> Iterator[FieldError]:
    for index, item in enumerate(source.get("items") or []):
        here = f"{at}.items[{index}]"
        if not item.get("key"):
            yield required(f"{here}.key")
        yield from _path(item, here)
        yield from _mode(item, here, "mode")


def _path(item: Object, at: str) -> Iterator[FieldError]:
    path = item.get("path") or ""
    if not path:
        yield required(f"{at}.path")
    else:
        problems = names.local_path(path)
        if path.startswith("..") and not path.startswith("../"):
            problems.append("must not start with '..'")
        yield from each_invalid(f"{at}.path", path, problems)


def _mode(source: Object, at: str, field: str) -> Iterator[FieldError]:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(f"{at}.{field}", mode, _MODE_TEXT)


def _config_map(source: Object, at: str) -> Iterator[FieldError]:
    return _files(source, at, "name")


def _secret(source: Object, at: str) -> Iterator[FieldError]:
    return _files(source, at, "secretName")


def _downward(source: Object, at: str) -> Iterator[FieldError]:
    yield from _mode(source, at, "defaultMode")
    for index, item in enumerate(source.get("items") or []):
        here = f"{at}.items[{index}]"
        yield from _path(item, here)
        yield from _mode(item, here, "mode")
        if item.get("fieldRef"):
            yield from field_errors(item["fieldRef"], f"{here}.fieldRef")
            if item.get("resourceFieldRef"):
                yield invalid(here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.get("resourceFieldRef"):
            yield from resource_field_errors(item["resourceFieldRef"], f"{here}.resourceFieldRef", needs_container=True)
        else:
            yield required(here, "one of fieldRef and resourceFieldRef is required")


def _projected(source: Object, at: str) -> Iterator[FieldError]:
    yield from _mode(source, at, "defaultMode")
    for index, each in enumerate(source.get("sources") or []):
        here = f"{at}.sources[{index}]"
        given = [name for name in _PROJECTED if each.get(name) is not None]
        if not given:
            yield required(here, "must specify a volume source")
        for name in given[1:]:
            yield forbidden(f"{here}.{name}", "may not specify more than 1 volume type per source")
        for name in given[:1]:
            yield from _projection(name, each[name], f"{here}.{name}")


def _projection(name: str, source: Object, at: str) -> Iterator[FieldError]:
    if name in ("configMap", "secret"):
        yield from _files(source, at, "name")
    elif name == "downwardAPI":
        yield from _downward(source, at)
    elif name == "serviceAccountToken":
        seconds = source.get("expirationSeconds", _LEAST_TOKEN)
        if seconds < _LEAST_TOKEN:
            yield invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        elif seconds > _MOST_TOKEN:
            yield invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        yield from _path(source, at)


def _needs(*fields: str) -> Callable[[Object, str], Iterator[FieldError]]:
    def check(source: Object, at: str) -> Iterator[FieldError]:
        for field in fields:
            if not source.get(field):
                yield required(f"{at}.{field}")

    return check


_CHECKS: dict[str, Callable[[Object, str], Iterator[FieldError]]] = {
    "hostPath": _host_path, "emptyDir": _empty_dir, "configMap": _config_map, "secret": _secret,
    "downwardAPI": _downward, "projected": _projected, "persistentVolumeClaim": _needs("claimName"),
    "nfs": _needs("server", "path"), "csi": _needs("driver"),
}  # fmt: skip
