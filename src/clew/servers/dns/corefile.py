"""The Corefile, CoreDNS's configuration language, as data: server blocks, directives, their arguments and blocks.

    (logging) {
        errors
    }
    cluster.local:53 in-addr.arpa:53 {
        import logging
        kubernetes {
            pods insecure
        }
        forward . {$UPSTREAM}
    }

Parsing only: which directives exist and what they take is the plugins' matter. Every error names file, line and column.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from clew.base.errors import UserError
from clew.base.value import Value

_VARIABLE = re.compile(r"\{\$([^{}\s]+)\}|\{%([^{}%\s]+)%\}")
_MOST_IMPORTS = 100  # in all; files that import each other end here
_SEPARATE = re.compile(r"[ \t\r\f\v]+")


class Word(Value):
    """A token and where it stands, counted from 1."""

    text: str
    line: int
    column: int
    file: str = "Corefile"
    quoted: bool = False

    def error(self, message: str, remedy: str = "") -> UserError:
        return UserError(f"{self.file}:{self.line}:{self.column}: {message}", remedy)

    @property
    def opens(self) -> bool:
        return self.text == "{" and not self.quoted

    @property
    def closes(self) -> bool:
        return self.text == "}" and not self.quoted


class Directive(Value):
    """`name arg arg { name arg ... }`."""

    name: Word
    arguments: tuple[Word, ...] = ()
    block: tuple["Directive", ...] = ()


class ServerBlock(Value):
    """`zone[:port] ... { directives }`."""

    keys: tuple[Word, ...]
    directives: tuple[Directive, ...]


Line = list[Word]


class _Lexer:
    """Lines of words; a quoted word may contain line ends, and a quote behind a backslash."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        self.text = text
        self.file = file
        self.environment = environment
        self.at, self.line, self.start = 0, 1, 0  # offset, its line, where that line starts

    def lines(self) -> Iterator[Line]:
        words: Line = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\n":
                self._newline()
                if words:
                    yield words
                words = []
            elif space := _SEPARATE.match(self.text, self.at):
                self.at = space.end()
            elif char == "#":
                self.at = self._until("\n")
            else:
                words.append(self._quoted() if char == '"' else self._plain())
        if words:
            yield words

    def _newline(self) -> None:
        self.at += 1
        self.line += 1
        self.start = self.at

    def _until(self, char: str) -> int:
        end = self.text.find(char, self.at)
        return len(self.text) if end < 0 else end

    def _word(self, text: str, *, quoted: bool = False) -> Word:
        return Word(text, self.line, self.at - self.start + 1, self.file, quoted)

    def _plain(self) -> Word:
        found = re.compile(r"\S+").match(self.text, self.at)
        assert found is not None  # noqa: S101 - called on a character that is no space
        word = self._word(_VARIABLE.sub(self._value, found.group()))
        self.at = found.end()
        return word

    def _value(self, found: "re.Match[str]") -> str:
        return self.environment.get(found.group(1) or found.group(2), "")

    def _quoted(self) -> Word:
        found = re.compile(r'"((?:\\"|[^"])*)"').match(self.text, self.at)
        if found is None:
            raise self._word('"').error("a quoted text is never closed")
        inside = found.group(1).replace('\\"', '"')
        word = self._word(_VARIABLE.sub(self._value, inside), quoted=True)
        self.at = found.end()
        ends = found.group().count("\n")
        if ends:
            self.line += ends
            self.start = self.text.rfind("\n", 0, self.at) + 1
        return word


class _Reader:
    """Lines in order, with `import` replaced by what it names."""

    def __init__(self, folder: Path | None, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.snippets: dict[str, list[Line]] = {}
        self.imports = 0
        self._waiting: list[Line] = []  # last first

    def push(self, text: str, file: str) -> None:
        self._waiting += reversed(list(_Lexer(text, file, self.environment).lines()))

    def next(self) -> Line | None:
        while self._waiting:
            line = self._waiting.pop()
            if line[0].text != "import" or line[0].quoted:
                return line
            self._import(line)
        return None

    def _import(self, line: Line) -> None:
        if len(line) != 2:
            raise line[0].error("import takes one file, pattern or snippet")
        self.imports += 1
        if self.imports > _MOST_IMPORTS:
            raise line[0].error(f"more than {_MOST_IMPORTS} imports", "do files import each other?")
        target = line[1]
        if target.text in self.snippets:
            self._waiting += reversed(self.snippets[target.text])
            return
        if self.folder is None:
            raise target.error(f"{target.text!r} is a file of another machine")
        paths = sorted(self.folder.glob(target.text)) if not target.text.startswith("/") else _glob(target.text)
        paths = [path for path in paths if path.is_file()]
        if not paths and not re.search(r"[*?\[]", target.text):
            raise target.error(f"no snippet and no file {target.text!r}", "define (NAME) { ... } before it is imported")
        for path in reversed(paths):
            try:
                self.push(path.read_text(encoding="utf-8"), path.name)
            except (OSError, UnicodeDecodeError) as error:
                raise target.error(f"cannot read {path}: {error}") from None


def _glob(pattern: str) -> list[Path]:
    return sorted(Path("/").glob(pattern.lstrip("/")))


def parse(
    text: str, folder: Path | None = Path(), environment: Mapping[str, str] | None = None
) -> tuple[ServerBlock, ...]:
    """The server blocks of a Corefile; UserError with line and column where it is not one.

    Files to import are looked for from `folder` (None: none can be read); `{$NAME}` and `{%NAME%}` come from
    `environment`, the process's own by default.
    """
    reader = _Reader(folder, os.environ if environment is None else environment)
    reader.push(text, "Corefile")
    blocks = []
    while line := reader.next():
        while line[-1].text.endswith(",") and (more := reader.next()):
            line += more
        *keys, last = line
        if not last.opens or not keys:
            raise last.error("expected a server block", 'write e.g. ".:53 {" and close it with "}" on its own line')
        name = keys[0].text
        if len(keys) == 1 and name.startswith("(") and name.endswith(")"):
            reader.snippets[name[1:-1]] = _raw_block(reader, last)
            continue
        words = [msgspec.structs.replace(key, text=each) for key in keys for each in key.text.split(",") if each]
        blocks.append(ServerBlock(tuple(words), _block(reader, last)))
    if not blocks:
        raise UserError("Corefile: no server block", 'write e.g. ".:53 { ... }"')
    return tuple(blocks)


def _unclosed(opened: Word) -> UserError:
    return opened.error("this block is never closed", 'put "}" on a line of its own')


def _raw_block(reader: _Reader, opened: Word) -> list[Line]:
    """A snippet's lines up to its own closing brace."""
    found: list[Line] = []
    depth = 1
    while line := reader.next():
        if line[0].closes:
            depth -= 1
            if not depth:
                return found
        elif line[-1].opens:
            depth += 1
        found.append(line)
    raise _unclosed(opened)


def _block(reader: _Reader, opened: Word) -> tuple[Directive, ...]:
    found: list[Directive] = []
    while words := reader.next():
        if words[0].closes:
            if len(words) > 1:
                raise words[1].error(f"unexpected {words[1].text!r} after a closing brace")
            return tuple(found)
        block: tuple[Directive, ...] = ()
        if words[-1].opens:
            if len(words) == 1:
                raise words[0].error("a block without a directive before it")
            block = _block(reader, words[-1])
            words = words[:-1]
        for word in words:
            if word.opens or word.closes:
                raise word.error("a brace amid a line", '"{" ends a line and "}" stands on its own')
        found.append(Directive(words[0], tuple(words[1:]), block))
    raise _unclosed(opened)
