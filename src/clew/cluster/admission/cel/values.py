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
_UNKNOWN: Object = {}  # of fields that no rule can ask for; they count where whole objects are compared


class Views:
    """What expressions see of the values of one object; each value is looked at once, also by rules above and below it.

    What does not fit its schema stays as it is, and rules then say so.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[Any, int]] = {}

    def of(self, schema: Object, value: Any, *, is_root: bool = False) -> tuple[Any, int]:
        """The value as CEL has it, and how many values there are in it, itself included."""
        if not isinstance(value, dict | list):
            return _scalar(schema, value), 1
        key = id(value), id(schema)
        found = self._seen.get(key)
        if found is None:
            made = self._map(schema, value, is_root=is_root) if isinstance(value, dict) else self._list(schema, value)
            found = self._seen[key] = made
        return found

    def _list(self, schema: Object, value: list[Any]) -> tuple[list[Any], int]:
        items = schema.get("items") or {}
        is_root = bool(items.get(_EMBEDDED))
        seen = [self.of(items, item, is_root=is_root) for item in value]
        return [each for each, _ in seen], sum((size for _, size in seen), 1)

    def _map(self, schema: Object, value: Object, *, is_root: bool) -> tuple[Object, int]:
        properties, extra = fields_of(schema, is_root=is_root), schema.get("additionalProperties")
        seen: Object = {}
        total = 1
        for name, item in value.items():
            if isinstance(extra, dict):
                inner, key = extra, _text(name)
            else:
                inner = properties.get(name) or _UNKNOWN
                key = (escaped(name) if inner is not _UNKNOWN else None) or f" {_text(name)}"
            seen[key], size = self.of(inner, item, is_root=bool(inner.get(_EMBEDDED)))
            total += size
        return seen, total


def _scalar(schema: Object, value: Any) -> Any:
    match value:
        case str():
            convert = _STRINGS.get(schema.get("format", "")) if schema.get("type") == "string" else None
            return _converted(convert, value) if convert else _text(value)
        case bool():
            return value
        case int() | float():
            return _number(schema, value)
    return value


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
