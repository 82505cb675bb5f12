from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.api.quantity import QuantityError, canonical, parse, render, total


@pytest.mark.parametrize(
    ("text", "number", "form"),
    [
        ("0", 0, "0"), ("1", 1, "1"), ("100m", Fraction(1, 10), "100m"), ("1000m", 1, "1"),
        ("0.5", Fraction(1, 2), "500m"), ("1.5Gi", 3 * 2**29, "1536Mi"),
        ("1024Mi", 2**30, "1Gi"), ("1024", 1024, "1024"), ("0.5Ki", 512, "512"),
        ("1.1Gi", Fraction(11 * 2**30, 10), "1181116006400m"), ("1e3", 1000, "1e3"), ("1E3", 1000, "1e3"),
        ("12e6", 12_000_000, "12e6"), ("1e-3", Fraction(1, 1000), "1e-3"), ("1500", 1500, "1500"),
        ("2E", 2 * 10**18, "2E"),
        ("-5", -5, "-5"), ("+1k", 1000, "1k"), (".5", Fraction(1, 2), "500m"), ("1.", 1, "1"),
        ("0.1n", Fraction(1, 10**9), "1n"), ("1.5u", Fraction(15, 10**7), "1500n"), ("100000Ei", 2**63 - 1, None),
    ],
)  # fmt: skip
def test_quantities(text: str, number: Fraction, form: str | None) -> None:
    assert parse(text) == number
    if form is not None:
        assert canonical(text) == form


def test_numbers_may_come_without_quotes() -> None:
    assert canonical(2) == "2"
    assert canonical(0.5) == "500m"


@pytest.mark.parametrize("text", ["", "a", "1 Gi", "1gi", "1Kib", "--1", "1.2.3", "m", "1e", "½"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(QuantityError):
        parse(text)


SUFFIXES = st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e0", "u", "n"])


@given(st.integers(-(10**6), 10**6), SUFFIXES)
def test_the_canonical_form_keeps_the_number_and_is_its_own(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


@given(st.fractions(min_value=0, max_value=10**12).map(lambda value: Fraction(round(value * 10**9), 10**9)))
def test_every_number_can_be_written(number: Fraction) -> None:
    for family in ("decimal", "binary", "exponent"):
        assert parse(render(number, family)) == number


def test_total() -> None:
    assert total(["100m", "1", "900m"]) == 2
    assert total([]) == 0
