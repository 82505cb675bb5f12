"""The Corefile, CoreDNS's configuration language, as data: server blocks, directives, their arguments and blocks.

    .:53 {
        errors
        kubernetes cluster.local in-addr.arpa {
            pods insecure
        }
    }

Parsing only: which directives exist and what they take is the plugins' matter. Every error names line and column.
"""

from collections.abc import Iterator

from clew.base.errors import UserError
from clew.base.value import Value


class Word(Value):
    """A token and where it stands, counted from 1."""

    text: str
    line: int
    column: int

    def error(self, message: str, remedy: str = "") -> UserError:
        return UserError(f"Corefile:{self.line}:{self.column}: {message}", remedy)


class Directive(Value):
    """`name arg arg { name arg ... }`."""

    name: Word
    arguments: tuple[Word, ...] = ()
    block: tuple["Directive", ...] = ()


class ServerBlock(Value):
    """`zone[:port] ... { directives }`."""

    keys: tuple[Word, ...]
    directives: tuple[Directive, ...]


def _words(text: str) -> Iterator[Word]:
    for number, line in enumerate(text.splitlines(), 1):
        at = 0
        while at < len(line):
            if line[at].isspace():
                at += 1
            elif line[at] == "#":
                break
            elif line[at] == '"':
                end = line.find('"', at + 1)
                if end < 0:
                    raise Word('"', number, at + 1).error("a quoted text is not closed on its line")
                yield Word(line[at + 1 : end], number, at + 1)
                at = end + 1
            else:
                end = at
                while end < len(line) and not line[end].isspace():
                    end += 1
                yield Word(line[at:end], number, at + 1)
                at = end


def _lines(text: str) -> list[list[Word]]:
    lines: dict[int, list[Word]] = {}
    for word in _words(text):
        lines.setdefault(word.line, []).append(word)
    return list(lines.values())


def parse(text: str) -> tuple[ServerBlock, ...]:
    """The server blocks of a Corefile; UserError with line and column where it is not one."""
    lines = _lines(text)
    blocks, at = [], 0
    while at < len(lines):
        *keys, last = lines[at]
        if last.text != "{" or not keys:
            raise last.error("expected a server block", 'write e.g. ".:53 {" and close it with "}" on its own line')
        directives, at = _block(lines, at + 1, last)
        blocks.append(ServerBlock(tuple(keys), directives))
    if not blocks:
        raise UserError("Corefile: no server block", 'write e.g. ".:53 { ... }"')
    return tuple(blocks)


def _block(lines: list[list[Word]], at: int, opened: Word) -> tuple[tuple[Directive, ...], int]:
    found: list[Directive] = []
    while at < len(lines):
        words = lines[at]
        if words[0].text == "}":
            if len(words) > 1:
                raise words[1].error(f"unexpected {words[1].text!r} after a closing brace")
            return tuple(found), at + 1
        block: tuple[Directive, ...] = ()
        at += 1
        if words[-1].text == "{":
            if len(words) == 1:
                raise words[0].error("a block without a directive before it")
            block, at = _block(lines, at, words[-1])
            words = words[:-1]
        found.append(Directive(words[0], tuple(words[1:]), block))
    raise opened.error("this block is never closed", 'put "}" on a line of its own')
