r"""Bodies in `application/vnd.kubernetes.protobuf`, as kubectl's typed commands post them, to plain JSON objects.

The envelope is `k8s\0` and a runtime.Unknown (k8s.io/apimachinery/pkg/runtime/generated.proto). Decoding only: the
server answers in JSON, which every client accepts. Zero values are dropped, as Go's `omitempty` does.
"""

import base64
import functools
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from clew.api.definitions import all_definitions, load
from clew.api.objects import Object

_MAGIC = b"k8s\0"
_META = "k8s.io.apimachinery.pkg."
_STRING, _MESSAGE, _BYTES = 9, 11, 12
_PACKAGES = {"": "core"}

Raw = int | bytes


@functools.cache
def _messages() -> dict[str, Any]:
    found: dict[str, Any] = load("protobuf-fields.json.z")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, Raw]]:
    """Field numbers and raw values of one message (protobuf wire format)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: Raw
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                value, at = data[at : at + 8], at + 8
            case 2:
                length, at = _varint(data, at)
                value, at = data[at : at + length], at + length
            case 5:
                value, at = data[at : at + 4], at + 4
            case wire:
                raise ValueError(f"wire type {wire} is not used by Kubernetes")
        if at > len(data):
            raise ValueError("a field is cut off")
        yield tag >> 3, value


def _bytes(value: Raw) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where bytes were expected")  # noqa: TRY004 - the body is wrong, not a type of ours
    return value


def _signed(value: Raw) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a number was expected")  # noqa: TRY004 - likewise
    return value - (1 << 64) if value >> 63 else value


def _time(data: bytes) -> str | None:
    fields = dict(_fields(data))
    if not fields:
        return None
    return datetime.fromtimestamp(_signed(fields.get(1, 0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(data: bytes) -> int | str:
    fields = dict(_fields(data))
    return _bytes(fields.get(3, b"")).decode() if fields.get(1, 0) == 1 else _signed(fields.get(2, 0))


def _quantity(data: bytes) -> str:
    return next((_bytes(value).decode() for _, value in _fields(data)), "0")


def _free(data: bytes) -> Any:
    return msgspec.json.decode(next((_bytes(value) for _, value in _fields(data)), b"{}") or b"{}")


_SPECIAL = {
    f"{_META}apis.meta.v1.Time": _time,
    f"{_META}apis.meta.v1.MicroTime": _time,
    f"{_META}api.resource.Quantity": _quantity,
    f"{_META}util.intstr.IntOrString": _int_or_string,
    f"{_META}apis.meta.v1.FieldsV1": _free,
    f"{_META}runtime.RawExtension": _free,
}


def _properties(message: str) -> dict[str, Any] | None:
    """The JSON fields of a message, by which embedded structs are known: they have none of their own name."""
    name = message.replace("k8s.io.api.", "io.k8s.api.").replace("k8s.io.apimachinery.", "io.k8s.apimachinery.")
    definition = all_definitions().get(name)
    return definition.get("properties") if definition else None


def _message(name: str, data: bytes) -> Any:
    if name in _SPECIAL:
        return _SPECIAL[name](data)
    known = _messages()[name]["fields"]
    properties = _properties(name)
    if properties is None and {field[0] for field in known.values()} == {"items"}:
        return [_bytes(value).decode() for _, value in _fields(data)]  # a named list of strings
    made: Object = {}
    for number, raw in _fields(data):
        if str(number) not in known:
            continue
        field, repeated, kind, type_name = known[str(number)]
        if kind == _MESSAGE and _messages()[type_name]["map"]:
            key, value = _map_entry(type_name, _bytes(raw))
            made.setdefault(field, {})[key] = value
            continue
        value = _scalar(kind, type_name, raw)
        if kind == _MESSAGE and properties is not None and field not in properties and isinstance(value, dict):
            made.update(value)  # an embedded struct
        elif repeated:
            made.setdefault(field, []).append(value)
        else:
            made[field] = value
    return made


def _map_entry(type_name: str, data: bytes) -> tuple[str, Any]:
    entry = dict(_fields(data))
    _, _, kind, inner = _messages()[type_name]["fields"]["2"]
    empty: Raw = b"" if kind in {_STRING, _MESSAGE, _BYTES} else 0
    return _bytes(entry.get(1, b"")).decode(), _scalar(kind, inner, entry.get(2, empty))


def _scalar(kind: int, type_name: str, raw: Raw) -> Any:
    match kind:
        case 11:
            return _message(type_name, _bytes(raw))
        case 9:
            return _bytes(raw).decode()
        case 12:
            return base64.b64encode(_bytes(raw)).decode()
        case 8:
            return bool(raw)
        case 1:
            return struct.unpack("<d", _bytes(raw))[0]
    return _signed(raw)


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _pruned(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None and item not in ("", {}, [])}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


def decode(body: bytes) -> Object:
    """The object in a protobuf body; ValueError for what is none or is of a kind that is not known."""
    if body[:4] != _MAGIC:
        raise ValueError("the body does not begin with the Kubernetes protobuf mark")
    envelope = dict(_fields(body[4:]))
    meta = dict(_fields(_bytes(envelope.get(1, b""))))
    api_version, kind = _bytes(meta.get(1, b"")).decode(), _bytes(meta.get(2, b"")).decode()
    group, _, version = api_version.rpartition("/")
    package = _PACKAGES.get(group) or group.split(".")[0]
    name = f"k8s.io.api.{package}.{version}.{kind}"
    if name not in _messages():
        name = f"{_META}apis.meta.v1.{kind}"
    if name not in _messages():
        raise ValueError(f"no kind {kind!r} in version {api_version!r} is known in protobuf; send JSON")
    made: Object = _pruned(_message(name, _bytes(envelope.get(2, b""))))
    return {"apiVersion": api_version, "kind": kind, **made}
