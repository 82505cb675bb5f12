"""Quantities: `100m`, `1.5Gi`, `2e3` — exact numbers with the suffix they are written with.

Follows the API reference of Quantity: three families of suffix, canonical form without fraction and with the
largest suffix that keeps the number whole, nothing finer than nano (rounded away from zero).
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Literal

PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
MESSAGE = f"quantities must match the regular expression '{PATTERN}'"
_NUMBER = re.compile(r"([+-]?)((?:[0-9]+(?:\.[0-9]*)?)|(?:\.[0-9]+))(.*)", re.ASCII)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,3})", re.ASCII)

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAME = {power: name for name, power in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_NAME = {power: name for name, power in _BINARY.items()}
_LARGEST = 2**63 - 1
_NANO = Fraction(1, 10**9)

Family = Literal["decimal", "binary", "exponent"]


class QuantityError(ValueError):
    """The text is no quantity; the message is the API server's."""


def parse(text: str | float) -> Fraction | int:
    """The number a quantity stands for: `100m` is Fraction(1, 10), `1Ki` is 1024. Raises QuantityError."""
    number, _ = _split(str(text).strip())
    return number.numerator if number.denominator == 1 else number


def canonical(text: str | float) -> str:
    """The form in which the API server stores and prints it: `1000m` is `1`, `1.5Gi` is `1536Mi`."""
    return _canonical(str(text).strip())


def total(texts: Iterable[str | float]) -> Fraction | int:
    """The sum of several quantities."""
    return sum((parse(text) for text in texts), start=0)


def render(number: Fraction | float, family: Family = "decimal") -> str:
    """A number in canonical form with the suffixes of a family."""
    exact = Fraction(number)
    if family == "binary" and (abs(exact) < 1024 or exact.denominator != 1):
        family = "decimal"  # a suffix that is smaller than Ki does not exist; the decimal form loses nothing
    return _render_binary(int(exact)) if family == "binary" else _render_decimal(exact, family)


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return render(*_split(text))


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[Fraction, Family]:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise QuantityError(MESSAGE)
    sign, digits, suffix = match.groups()
    scale, family = _scale(suffix)
    number = Fraction(digits) * scale
    number = min(number, Fraction(_LARGEST))
    if number % _NANO:
        number = (number // _NANO + 1) * _NANO
    return (-number if sign == "-" else number), family


def _scale(suffix: str) -> tuple[Fraction, Family]:
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix], "decimal"
    if suffix in _BINARY:
        return Fraction(1024 ** _BINARY[suffix]), "binary"
    exponent = _EXPONENT.fullmatch(suffix)
    if exponent is None:
        raise QuantityError("unable to parse quantity's suffix" if suffix.isalpha() else MESSAGE)
    return Fraction(10) ** int(exponent[1]), "exponent"


def _render_decimal(number: Fraction, family: Family) -> str:
    nanos = int(number / _NANO)
    power = -9
    while nanos and nanos % 1000 == 0 and power < 18:
        nanos //= 1000
        power += 3
    if not nanos:
        return "0"
    if family == "exponent":
        return f"{nanos}e{power}" if power else str(nanos)
    return f"{nanos}{_DECIMAL_NAME[power]}"


def _render_binary(number: int) -> str:
    power = 0
    while number % 1024 == 0 and power < 6:
        number //= 1024
        power += 1
    return f"{number}{_BINARY_NAME[power] if power else ''}"
