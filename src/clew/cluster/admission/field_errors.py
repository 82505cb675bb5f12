"""A field that is wrong, in the real server's words: `spec.ports[0].port: Invalid value: 0: must be …`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from clew.base.value import Value

_WORDS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueTooLong": "Too long",
    "FieldValueNotFound": "Not found",
}


class FieldError(Value):
    """`reason` is the metav1.CauseType."""

    field: str
    reason: str
    value: Any
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.field}: {_WORDS[self.reason]}"
        if self.reason not in {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"}:
            text += f": {msgspec.json.encode(self.value).decode()}"
        return f"{text}: {self.detail}" if self.detail else text


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(field, "FieldValueInvalid", value, detail)


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(field, "FieldValueRequired", None, detail)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError(field, "FieldValueDuplicate", value)


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", None, detail)


def unsupported(field: str, value: Any, known: Sequence[str]) -> FieldError:
    names = ", ".join(f'"{each}"' for each in sorted(known))
    return FieldError(field, "FieldValueNotSupported", value, f"supported values: {names}")
