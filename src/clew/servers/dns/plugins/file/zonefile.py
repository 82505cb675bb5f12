"""A zone file (RFC 1035 section 5) as entries: $ORIGIN, $TTL, $INCLUDE, parentheses, quotes and comments."""

from collections.abc import Callable, Iterator

from clew.servers.dns import records, wire
from clew.servers.dns.records import Entry

_MOST_INCLUDES = 16


def _statements(text: str) -> Iterator[tuple[int, bool, list[str]]]:
    """Line number, whether it starts with a blank (the owner is the last one's), and words."""
    words: list[str] = []
    depth, began, blank = 0, 0, False
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = records.split(_spaced(line))
        except ValueError as wrong:
            raise ValueError(f"line {number}: {wrong}") from None
        if not depth:
            words, began, blank = [], number, line[:1] in {" ", "\t"}
        depth += found.count("(") - found.count(")")
        words += [word for word in found if word not in {"(", ")"}]
        if depth <= 0 and words:
            yield began, blank, words
    if depth > 0:
        raise ValueError(f"line {began}: a parenthesis is never closed")


def _spaced(line: str) -> str:
    """Parentheses outside of quotes and comments as words of their own."""
    made, quoted = [], False
    for char in line:
        if char == ";" and not quoted:
            break
        quoted ^= char == '"'
        made.append(f" {char} " if char in "()" and not quoted else char)
    return "".join(made)


def entries(text: str, origin: str, include: Callable[[str], str], depth: int = 0) -> Iterator[Entry]:
    """The records of a file; ValueError names the line. `origin` has no final dot."""
    owner, ttl = "@", 3600
    for number, blank, words in _statements(text):
        try:
            match words[0].upper():
                case "$ORIGIN":
                    origin = wire.name_to_text(records.name(words[1], origin)).removesuffix(".")
                    continue
                case "$TTL":
                    ttl = records.seconds(words[1])
                    continue
                case "$INCLUDE":
                    if depth >= _MOST_INCLUDES:
                        raise ValueError("files include each other")  # noqa: TRY301 - told with its line like the rest
                    yield from entries(include(words[1]), origin, include, depth + 1)
                    continue
            if not blank:
                owner = words.pop(0)
                if owner != "@" and not owner.endswith("."):
                    owner = f"{owner}.{origin}." if origin else f"{owner}."
                elif owner == "@":
                    owner = f"{origin}."
            made, _, _ = records.entry(words, origin, owner, ttl)
            yield made
        except (ValueError, IndexError) as wrong:
            raise ValueError(f"line {number}: {wrong}") from None
