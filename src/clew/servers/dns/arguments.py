"""Reading a directive's arguments: numbers, durations, addresses, zones; each refusal names line, column, remedy."""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import TypeVar

import msgspec

from clew.base.errors import UserError
from clew.servers.dns import wire
from clew.servers.dns.corefile import Directive, Word

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")

T = TypeVar("T")


def number(word: Word, least: int = 0, most: int | None = None) -> int:
    if not word.text.isdecimal() or int(word.text) < least:
        raise word.error(f"{word.text!r} is not a whole number of at least {least}")
    if most is not None and int(word.text) > most:
        raise word.error(f"{word.text} is above {most}", f"write {least} to {most}")
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


def address_argument(directive: Directive, usual: str) -> tuple[str | None, int]:
    """The one optional argument of a directive that serves pages."""
    for word in directive.arguments[1:]:
        raise word.error(f"{directive.name.text!r} takes one address", f"remove {word.text!r}")
    return listen_address(directive.arguments[0] if directive.arguments else Word(usual, directive.name.line, 1))


def choice(word: Word, *known: str) -> str:
    if word.text not in known:
        raise word.error(f"no {word.text!r} here", nearest(word.text, known))
    return word.text


def read(word: Word, how: Callable[[str], T], remedy: str = "") -> T:
    """`how(text)`, its ValueError told with the place."""
    try:
        return how(word.text)
    except ValueError as wrong:
        raise word.error(str(wrong), remedy) from None


def file_text(word: Word) -> str:
    """The content of the file that a word names."""
    try:
        return Path(word.text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise word.error(f"cannot read {word.text}: {error}") from None


def _normal(text: str) -> tuple[str, ...]:
    if "/" in text:
        return reverse_zones(text)
    text = text.removesuffix(".").lower()
    wire.name_to_wire(text)
    return (text,)


def zones(words: Sequence[Word], usual: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Zone names without the final dot, in lower case (the root is empty); `10.0.0.0/22` means its reverse zones."""
    return tuple(zone for word in words for zone in read(word, _normal)) or usual


def zones_and_port(key: Word, default: int) -> tuple[tuple[str, ...], int]:
    """`.:53`, `example.org`, `dns://example.org:1053`, `10.0.0.0/24:53` (its reverse zones)."""
    scheme, _, text = key.text.rpartition("://")
    if scheme not in {"", "dns"}:
        raise key.error(f"{scheme}:// is not served", "only dns:// is; TLS is spoken to upstreams alone")
    zone, colon, port = text.rpartition(":")
    if not colon:
        zone, port = text, str(default)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise key.error(f"{port!r} is not a port", "write 1 to 65535 after the colon")
    return zones([msgspec.structs.replace(key, text=zone)]), int(port)


def reverse_zones(cidr: str) -> tuple[str, ...]:
    """The reverse zones that make up a range: cut at the next octet, or nibble for IPv6. ValueError for no range."""
    network = ip_network(cidr)
    step, parts = (8, 4) if isinstance(network, IPv4Network) else (4, 32)
    labels = -(-network.prefixlen // step)
    found = []
    for part in network.subnets(new_prefix=labels * step):
        name = part.network_address.reverse_pointer.split(".")
        found.append(".".join(name[parts - labels :]))
    return tuple(found)


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


def some_arguments(directive: Directive, least: int = 1, most: int | None = None) -> tuple[Word, ...]:
    found = directive.arguments
    if len(found) < least:
        raise directive.name.error(f"{directive.name.text!r} needs {least} argument{'s' * (least > 1)} or more")
    if most is not None and len(found) > most:
        raise found[most].error(
            f"{directive.name.text!r} takes at most {most} arguments", f"remove {found[most].text!r}"
        )
    return found
