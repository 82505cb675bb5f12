"""Reading a directive's arguments: numbers, durations, addresses; each refusal names line, column and what is right."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from clew.base.errors import UserError
from clew.servers.dns.corefile import Directive, Word

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")


def number(word: Word, least: int = 0) -> int:
    if not word.text.isdecimal() or int(word.text) < least:
        raise word.error(f"{word.text!r} is not a whole number of at least {least}")
    return int(word.text)


def duration(word: Word) -> float:
    """Seconds from `30`, `5s`, `1m30s`, `200ms`."""
    parts = list(_DURATION.finditer(word.text))
    if not parts or "".join(part.group() for part in parts) != word.text:
        raise word.error(f"{word.text!r} is not a duration", "write e.g. 5s, 200ms or 1m30s")
    return sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)


def listen_address(word: Word) -> tuple[str | None, int]:
    """`:8080`, `127.0.0.1:8080`, `[::1]:8080`; None for every address."""
    host, colon, port = word.text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise word.error(f"{word.text!r} is not an address with a port", "write e.g. :8080")
    return host.strip("[]") or None, int(port)


def no_arguments(directive: Directive) -> None:
    for word in directive.arguments:
        raise word.error(f"{directive.name.text!r} takes no arguments", f"remove {word.text!r}")


def no_block(directive: Directive) -> None:
    for inner in directive.block:
        raise inner.name.error(f"{directive.name.text!r} has no property {inner.name.text!r}")


def unknown_property(directive: Directive, inner: Directive, known: Sequence[str]) -> UserError:
    """Says where, and the nearest property that there is."""
    return inner.name.error(
        f"{directive.name.text} has no property {inner.name.text!r}", nearest(inner.name.text, known)
    )


def nearest(text: str, known: Sequence[str]) -> str:
    """A remedy: the known word nearest to `text`, else all of them."""
    near = get_close_matches(text, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"


def one_argument(directive: Directive) -> Word:
    if len(directive.arguments) != 1:
        raise directive.name.error(f"{directive.name.text!r} takes exactly one argument")
    return directive.arguments[0]
