"""The forms of single values: what a Go decoder makes of a string, a number, a time, a quantity or base64 text."""

import base64
import functools
import re
from collections.abc import Callable
from typing import Any

from clew.api.quantity import QuantityError, canonical

Problem = Callable[[Any], str]
WRONG_TYPE = "type"  # the value is of another type; any other text is the whole message


def _string(value: Any) -> str:
    return "" if value.__class__ is str else WRONG_TYPE


def _boolean(value: Any) -> str:
    return "" if value.__class__ is bool else WRONG_TYPE


def _whole(bits: int, value: Any) -> str:
    if value.__class__ is not int:
        return WRONG_TYPE
    return "" if -(1 << bits - 1) <= value < (1 << bits - 1) else WRONG_TYPE


def _number(value: Any) -> str:
    return "" if value.__class__ in (int, float) else WRONG_TYPE


def _int_or_string(value: Any) -> str:
    if value.__class__ is str:
        return ""
    if value.__class__ is int:
        return _whole(32, value)
    return WRONG_TYPE


def _quantity(value: Any) -> str:
    if value.__class__ not in (str, int, float):
        return WRONG_TYPE
    try:
        canonical(value)
    except QuantityError as wrong:
        return str(wrong)
    return ""


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _time(value: Any) -> str:
    if value.__class__ is not str:
        return WRONG_TYPE
    if not value or _TIME.fullmatch(value):
        return ""
    return f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'


def _bytes(value: Any) -> str:
    if value.__class__ is not str:
        return WRONG_TYPE
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError:  # binascii's own, or letters beyond ASCII
        valid = re.match(r"[A-Za-z0-9+/\r\n]*", value)
        return f"illegal base64 data at input byte {valid.end() if valid else 0}"
    return ""


SCALARS: dict[str, Problem] = {
    "string": _string, "boolean": _boolean, "integer": functools.partial(_whole, 64),
    "int32": functools.partial(_whole, 32), "number": _number, "int-or-string": _int_or_string, "quantity": _quantity,
    "time": _time, "bytes": _bytes,
}  # fmt: skip
