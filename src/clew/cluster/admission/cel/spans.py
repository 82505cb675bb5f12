"""Durations as text: `1h30m`, `1.5s`, `-2ms`, and the days and weeks that the format `duration` has besides."""

import re
from fractions import Fraction

_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
    "d": 86400 * 10**9, "w": 7 * 86400 * 10**9,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w)\s*", re.ASCII)


def parse_span(text: str) -> int:
    """Nanoseconds. Raises ValueError."""
    body = text.lstrip("+-")
    if len(text) - len(body) > 1 or not body:
        raise ValueError(text)
    total, at = Fraction(0), 0
    while at < len(body):
        part = _PART.match(body, at)
        if part is None:
            if body == "0":
                return 0
            raise ValueError(text)
        total += Fraction(part[1]) * _UNITS[part[2]]
        at = part.end()
    return int(-total if text.startswith("-") else total)
