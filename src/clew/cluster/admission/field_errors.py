"""A field that is wrong, in the real server's words: `spec.ports[0].port: Invalid value: 0: must be …`.

Source of the texts: k8s.io/apimachinery/pkg/util/validation/field.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from clew.base.value import Value

_WORDS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueNotFound": "Not found",
}
_VALUELESS = frozenset({"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"})


class FieldError(Value):
    """`reason` is the metav1.CauseType; `value` the wrong one: decoded JSON or a Value."""

    field: str
    reason: str
    value: Any
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.field}: {_WORDS[self.reason]}"
        if self.reason not in _VALUELESS:
            text += f": {msgspec.json.encode(self.value, order='deterministic').decode()}"
        return f"{text}: {self.detail}" if self.detail else text


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(field, "FieldValueInvalid", value, detail)


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(field, "FieldValueRequired", None, detail)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError(field, "FieldValueDuplicate", value)


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", None, detail)


def not_found(field: str, value: Any) -> FieldError:
    return FieldError(field, "FieldValueNotFound", value)


def too_long(field: str, most: int) -> FieldError:
    return FieldError(field, "FieldValueTooLong", None, f"may not be more than {most} bytes")


def too_many(field: str, count: int, most: int) -> FieldError:
    return FieldError(field, "FieldValueTooMany", count, f"must have at most {most} items")


def unsupported(field: str, value: Any, known: Iterable[str]) -> FieldError:
    names = ", ".join(f'"{each}"' for each in sorted(known))
    return FieldError(field, "FieldValueNotSupported", value, f"supported values: {names}")


def each_invalid(field: str, value: Any, problems: Iterable[str]) -> Iterator[FieldError]:
    """One error for each sentence that a rule of `names` had to say."""
    return (invalid(field, value, problem) for problem in problems)


def one_of(field: str, value: Any, known: Sequence[str]) -> Iterator[FieldError]:
    """Required where it is absent, unsupported where it is none of the known ones."""
    if not value:
        yield required(field)
    elif value not in known:
        yield unsupported(field, value, known)


def at_least(field: str, value: Any, least: int = 0) -> Iterator[FieldError]:
    """An absent number is well."""
    if isinstance(value, int) and value < least:
        bound = f"greater than or equal to {least}" if least == 0 else "greater than zero"
        yield invalid(field, value, f"must be {bound}")
