"""Values of custom objects as CEL has them: maps under escaped names, numbers and moments of the types they declare.

Source: k8s.io/apiserver pkg/cel/common/values.go.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from google.protobuf import duration_pb2, timestamp_pb2

from clew.api.objects import Object
from clew.cluster.admission.cel.names import escaped
from clew.cluster.admission.cel.spans import parse_span
from clew.cluster.admission.cel.types import fields_of

_EMBEDDED = "x-kubernetes-embedded-resource"
_INT64 = 1 << 63


def cel_value(schema: Object, value: Any, *, is_root: bool = False) -> Any:
    """What expressions see of a value; what does not fit its schema stays as it is, and rules then say so."""
    match value:
        case dict():
            return _map(schema, value, is_root=is_root)
        case list():
            items = schema.get("items") or {}
            return [cel_value(items, item, is_root=bool(items.get(_EMBEDDED))) for item in value]
        case str():
            convert = _STRINGS.get(schema.get("format", "")) if schema.get("type") == "string" else None
            return _converted(convert, value) if convert else _text(value)
        case bool() | None:
            return value
        case int() | float():
            return _number(schema, value)
    return value


def weight(value: Any) -> int:
    """How many values there are in a value, itself included."""
    match value:
        case dict():
            return 1 + sum(map(weight, value.values()))
        case list():
            return 1 + sum(map(weight, value))
    return 1


def _map(schema: Object, value: Object, *, is_root: bool) -> Object:
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        return {_text(name): cel_value(extra, item, is_root=bool(extra.get(_EMBEDDED))) for name, item in value.items()}
    seen: Object = {}
    properties = fields_of(schema, is_root=is_root)
    for name, item in value.items():
        inner, key = properties.get(name), escaped(name)
        if inner is not None and key is not None:
            seen[key] = cel_value(inner, item, is_root=bool(inner.get(_EMBEDDED)))
    return seen


def _text(value: str) -> str:
    """The library ends a text at its first NUL and at half a surrogate pair itself; a mark stands in for both."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _number(schema: Object, value: float) -> float:
    if schema.get("type") == "number":
        return float(value)
    whole = value.is_integer() if isinstance(value, float) else True
    if whole and -_INT64 <= value < _INT64:
        return int(value)
    return float(value)


def _converted(convert: Callable[[str], Any], value: str) -> Any:
    try:
        return convert(value)
    except (ValueError, OverflowError, binascii.Error):
        return _text(value)


def _moment(value: str) -> timestamp_pb2.Timestamp:
    """RFC 3339 to the nanosecond."""
    decoded = msgspec.convert(value, datetime, strict=False)
    moment = timestamp_pb2.Timestamp(seconds=int(decoded.replace(microsecond=0).timestamp()))
    fraction = value.partition(".")[2].rstrip("Zz").split("+")[0].split("-")[0]
    moment.nanos = int(fraction[:9].ljust(9, "0")) if fraction else 0
    return moment


def _day(value: str) -> timestamp_pb2.Timestamp:
    return _moment(f"{value}T00:00:00Z")


def _span(value: str) -> duration_pb2.Duration:
    nanos = parse_span(value)
    seconds, rest = divmod(abs(nanos), 10**9)
    sign = -1 if nanos < 0 else 1
    if timedelta(seconds=seconds) > timedelta(days=365 * 10000):
        raise ValueError(value)
    return duration_pb2.Duration(seconds=sign * seconds, nanos=sign * rest)


_STRINGS: dict[str, Callable[[str], Any]] = {
    "byte": lambda value: bytearray(base64.b64decode(value, validate=True)),
    "date": _day,
    "date-time": _moment,
    "duration": _span,
}
