"""Flags as the original's library reads them: `--name=value`, `--name value`, and `--switch[=true|false]`."""

import sys
from typing import NoReturn

Flag = bool | int | str | float

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE, _FALSE = {"1", "t", "T", "true", "TRUE", "True"}, {"0", "f", "F", "false", "FALSE", "False"}


class UsageError(Exception):
    """A flag or an argument that the subcommand does not take."""


def parse(arguments: list[str], defaults: dict[str, Flag]) -> tuple[dict[str, Flag], list[str]]:
    """Flag values (of the defaults' types; a float default is a duration, in seconds) and the other arguments."""
    values = dict(defaults)
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return values, rest + queue
        if not word.startswith("--"):
            if word.startswith("-") and len(word) > 1:
                raise UsageError(f"unknown shorthand flag: {word[1]!r} in {word}")
            rest.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if name not in defaults:
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if isinstance(defaults[name], bool):
                value = "true"
            elif queue:
                value = queue.pop(0)
            else:
                raise UsageError(f"flag needs an argument: --{name}")
        values[name] = _typed(name, value, defaults[name])
    return values, rest


def _typed(name: str, value: str, default: Flag) -> Flag:
    try:
        if isinstance(default, bool):
            return _truth(value)
        if isinstance(default, int):
            return int(value, 0)
        return duration(value) if isinstance(default, float) else value
    except ValueError:
        raise UsageError(f'invalid argument "{value}" for "--{name}" flag') from None


def _truth(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError(text)
    return text in _TRUE


def duration(text: str) -> float:
    """Seconds from a Go duration: `300ms`, `1.5h`, `2m30s`, `0`; ValueError otherwise."""
    rest, sign = text.strip(), 1.0
    if rest[:1] in {"-", "+"}:
        sign, rest = (-1.0 if rest[0] == "-" else 1.0), rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(text)
    total = 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = next((unit for unit in sorted(_UNITS, key=len, reverse=True) if rest[digits:].startswith(unit)), "")
        if not digits or not unit:
            raise ValueError(text)
        total += float(rest[:digits]) * _UNITS[unit]
        rest = rest[digits + len(unit) :]
    return sign * total


def leave(text: str, code: int = 1) -> NoReturn:
    sys.stderr.write(text + "\n")
    sys.exit(code)
