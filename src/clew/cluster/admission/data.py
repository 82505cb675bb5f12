"""The rules of ConfigMaps and Secrets: keys that can be files' names, a size that fits, immutability.

Source of rules and texts: k8s.io/kubernetes pkg/apis/core/validation.
"""

import base64
import binascii
import json
from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, each_invalid, forbidden, invalid, required, too_long

_MOST_DATA = 1 << 20  # bytes
_IMMUTABLE = "field is immutable when `immutable` is set"
# a secret of this type has these keys
_TYPED: dict[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT = "kubernetes.io/service-account.name"


def config_map_errors(obj: Object) -> Iterator[FieldError]:
    plain, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, value in plain.items():
        yield from each_invalid(f"data[{key}]", key, names.config_key(key))
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len((value or "").encode())
    for key, value in binary.items():
        yield from each_invalid(f"binaryData[{key}]", key, names.config_key(key))
        size += _decoded_size(value)
    if size > _MOST_DATA:
        yield too_long("", _MOST_DATA)


def secret_errors(obj: Object) -> Iterator[FieldError]:
    data = obj.get("data") or {}
    for key in data:
        yield from each_invalid(f"data[{key}]", key, names.config_key(key))
    if sum(_decoded_size(value) for value in data.values()) > _MOST_DATA:
        yield too_long("data", _MOST_DATA)
    kind = obj.get("type") or ""
    for key in _TYPED.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif key.startswith(".docker") and not _is_json(data[key]):
            yield invalid(f"data[{key}]", "<secret contents redacted>", "invalid character in JSON")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    account = ((obj.get("metadata") or {}).get("annotations") or {}).get(_ACCOUNT)
    if kind == "kubernetes.io/service-account-token" and not account:
        yield required(f"metadata.annotations[{_ACCOUNT}]")


def _decoded_size(value: str | None) -> int:
    text = value or ""
    return len(text) * 3 // 4 - text.count("=", -2)


def _is_json(value: str) -> bool:
    try:
        json.loads(base64.b64decode(value))
    except (ValueError, binascii.Error):
        return False
    return True


def config_map_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    yield from _frozen(new, old, ("data", "binaryData"))


def secret_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    if new.get("type") != old.get("type"):
        yield invalid("type", new.get("type"), "field is immutable")
    yield from _frozen(new, old, ("data",))


def _frozen(new: Object, old: Object, fields: tuple[str, ...]) -> Iterator[FieldError]:
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden("immutable", _IMMUTABLE)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield forbidden(field, _IMMUTABLE)
