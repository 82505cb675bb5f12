"""Quantities, compared and reckoned with as exact numbers: the text inside the type is a fraction, `1024/1`."""

from fractions import Fraction

from clew.api import quantity
from clew.cluster.admission.cel.functions.function import Function, holds, member

_QUANTITY, _TEXT, _BOOL, _INT = "kubernetes.Quantity", "string", "bool", "int"
_INT64 = 1 << 63


def _written(number: Fraction | float) -> str:
    exact = Fraction(number)
    return f"{exact.numerator}/{exact.denominator}"


def _is_whole(text: str) -> bool:
    number = Fraction(text)
    return number.denominator == 1 and -_INT64 <= number < _INT64


def _whole(text: str) -> int:
    if not _is_whole(text):
        raise ValueError("cannot convert value to integer")
    return int(Fraction(text))


def _order(one: str, other: str) -> int:
    left, right = Fraction(one), Fraction(other)
    return (left > right) - (left < right)


QUANTITIES = (
    Function("quantity", (_TEXT,), _QUANTITY, lambda text: _written(quantity.parse(text))),
    Function("isQuantity", (_TEXT,), _BOOL, holds(quantity.parse)),
    member("sign", (_QUANTITY,), _INT, lambda one: _order(one, "0")),
    member("isInteger", (_QUANTITY,), _BOOL, _is_whole),
    member("asInteger", (_QUANTITY,), _INT, _whole),
    member("asApproximateFloat", (_QUANTITY,), "double", lambda one: float(Fraction(one))),
    member("isGreaterThan", (_QUANTITY, _QUANTITY), _BOOL, lambda one, other: _order(one, other) > 0),
    member("isLessThan", (_QUANTITY, _QUANTITY), _BOOL, lambda one, other: _order(one, other) < 0),
    member("compareTo", (_QUANTITY, _QUANTITY), _INT, _order),
    member("add", (_QUANTITY, _QUANTITY), _QUANTITY, lambda one, other: _written(Fraction(one) + Fraction(other))),
    member("add", (_QUANTITY, _INT), _QUANTITY, lambda one, other: _written(Fraction(one) + other)),
    member("sub", (_QUANTITY, _QUANTITY), _QUANTITY, lambda one, other: _written(Fraction(one) - Fraction(other))),
    member("sub", (_QUANTITY, _INT), _QUANTITY, lambda one, other: _written(Fraction(one) - other)),
)
