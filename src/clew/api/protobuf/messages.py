"""Messages of the Kubernetes API to the JSON that Go would write of the same structs.

Zero scalars vanish, as by `omitempty`; structs are kept even when empty, for Go writes them too.
"""

import base64
import functools
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from clew.api.objects import Object
from clew.api.protobuf.wire import Raw, as_bytes, as_int, as_text, fields
from clew.api.shapes import read_data
from clew.base.clock import rfc3339, rfc3339_micro
from clew.base.value import Value


class Field(Value):
    """How one field number is read. `form` is the last word on the value; the flags say where it goes."""

    name: str
    form: str
    type: str = ""  # the message of a struct
    is_list: bool = False
    is_map: bool = False
    is_inline: bool = False
    keeps_zero: bool = False


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = msgspec.json.decode(read_data("protobuf-fields.json"))
    return found


def is_known(message: str) -> bool:
    return message in _tables()


@functools.cache
def _fields(message: str) -> dict[int, Field]:
    return {int(number): _field(text.split()) for number, text in _tables()[message].items()}


def _field(words: list[str]) -> Field:
    """From `replicas int?`, `containers list struct core.v1.Container`, `labels map string`."""
    name, *rest = words
    is_list, is_map = rest[0] == "list", rest[0] == "map"
    form, *tail = rest[1:] if is_list or is_map else rest
    return Field(
        name,
        "struct" if form == "inline" else form.removesuffix("?"),
        tail[0] if tail else "",
        is_list,
        is_map,
        form == "inline",
        form.endswith("?"),
    )


def decode_message(message: str, data: bytes) -> Object:
    """A message by its short name, such as `core.v1.Pod`. ValueError for data that does not fit it."""
    known = _fields(message)
    made: Object = {}
    for number, raw in fields(data):
        field = known.get(number)
        if field is None:
            continue  # newer than the table
        if field.is_map:
            key, value = _entry(field, as_bytes(raw))
            made.setdefault(field.name, {})[key] = value
            continue
        value = _value(field, raw)
        if field.is_inline:
            made.update(value)
        elif field.is_list:
            made.setdefault(field.name, []).append(value)
        elif value is not None and (value or field.keeps_zero or field.form in _WHOLE):
            made[field.name] = value
    return made


_WHOLE = frozenset({"struct", "int-or-string", "quantity", "json"})  # kept even when empty


def _entry(field: Field, data: bytes) -> tuple[str, Any]:
    """An entry of a map: key and value are the fields 1 and 2 of a message of their own, either left out when empty."""
    key, raw = "", None
    for number, part in fields(data):
        if number == 1:
            key = as_text(part)
        elif number == 2:
            raw = part
    if raw is None:
        raw = 0 if field.form in ("int", "bool") else b""
    return key, _value(field, raw)


def _value(field: Field, raw: Raw) -> Any:
    if field.form == "struct":
        return decode_message(field.type, as_bytes(raw))
    return _READERS[field.form](raw)


def _time(raw: Raw) -> str | None:
    moment = _moment(as_bytes(raw))
    return rfc3339(moment) if moment else None


def _micro_time(raw: Raw) -> str | None:
    moment = _moment(as_bytes(raw))
    return rfc3339_micro(moment) if moment else None


def _moment(data: bytes) -> datetime | None:
    parts = {number: as_int(raw) for number, raw in fields(data)}
    if not parts or parts.get(1, 0) < 0:  # Go's zero time lies in the year 1
        return None
    try:
        return datetime.fromtimestamp(parts.get(1, 0), UTC).replace(microsecond=parts.get(2, 0) // 1000)
    except (OverflowError, ValueError, OSError):
        raise ValueError(f"time out of range: {parts.get(1)} s") from None


def _quantity(raw: Raw) -> str:
    return next((as_text(part) for number, part in fields(as_bytes(raw)) if number == 1), "0")


def _int_or_string(raw: Raw) -> int | str:
    parts = dict(fields(as_bytes(raw)))
    return as_text(parts.get(3, b"")) if parts.get(1, 0) == 1 else as_int(parts.get(2, 0))


def _json(raw: Raw) -> Any:
    text = next((as_bytes(part) for number, part in fields(as_bytes(raw)) if number == 1), b"")
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError as wrong:
        raise ValueError(str(wrong)) from None


def _strings(raw: Raw) -> list[str]:
    return [as_text(part) for number, part in fields(as_bytes(raw)) if number == 1]


def _base64(raw: Raw) -> str:
    return base64.b64encode(as_bytes(raw)).decode()


def _double(raw: Raw) -> float:
    try:
        found: float = struct.unpack("<d", as_bytes(raw))[0]
    except struct.error:
        raise ValueError("unexpected EOF") from None
    return found


_READERS: dict[str, Callable[[Raw], Any]] = {
    "string": as_text, "int": as_int, "bool": lambda raw: bool(as_int(raw)), "bytes": _base64, "double": _double,
    "time": _time, "micro-time": _micro_time, "quantity": _quantity, "int-or-string": _int_or_string, "json": _json,
    "strings": _strings,
}  # fmt: skip
