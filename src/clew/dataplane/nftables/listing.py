"""Reading a table back from nft's own listing into the values that render makes.

Pure. It understands the part of nft's language that this backend uses (objects.py), in the spelling in which nft prints
it; a rule that it does not understand becomes None in its chain, which equals nothing that is ever rendered. Used by
apply, to find what to repair, and by simulate, to run what is really in the kernel.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from clew.dataplane.nftables.objects import (
    HASH_MODULUS,
    HASH_SEED,
    Chain,
    Change,
    Compare,
    Dispatch,
    Fetch,
    Field,
    Forget,
    Go,
    Hashed,
    Hook,
    IpWord,
    Key,
    Masked,
    Member,
    Part,
    Put,
    Random,
    Remember,
    Rule,
    SetDeclaration,
    Statement,
    Table,
    Translate,
    Word,
)

FIELDS = (
    "ip saddr|ip daddr|ip6 saddr|ip6 daddr|meta l4proto|th dport|meta mark|meta priority|ct state|ct status"
    "|fib daddr type|fib saddr type|iifname"
)
NUMBER = r"none|[0-9a-f]*:[0-9a-f]*|0x[0-9a-f]+"
HASHED = rf"jhash (?:{FIELDS}) mod {HASH_MODULUS} seed {HASH_SEED:#x}"
PART = rf"(?:{HASHED}|numgen random mod \d+|(?:{FIELDS})(?: & (?:{NUMBER}))?)"
KEY = rf"{PART}(?: \. {PART})*"
NAME = r"[a-zA-Z][\w-]*"
VALUE = r"[^\s{},]+"


class UnreadableError(ValueError):
    """The text is nothing that this backend would have written."""


def read_table(text: str) -> Table:
    """A table as `nft --terse --numeric-priority list table` prints it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    head = re.fullmatch(r"table (ip6?) (\S+) \{.*", lines[0]) if lines else None
    if head is None:
        raise UnreadableError("not a table of ip or ip6")
    comment = ""
    sets: list[SetDeclaration] = []
    chains: list[Chain] = []
    rows = iter(lines[1:])
    for line in rows:
        start = re.fullmatch(r"(set|map|chain) (\S+) \{.*", line)
        if start is not None:
            kind, name = start.groups()
            body = list(_block(rows))
            if kind == "chain":
                chains.append(_chain(name, body))
            else:
                sets.append(SetDeclaration("map" if kind == "map" else "set", name, tuple(body)))
        elif line.startswith('comment "'):
            comment = line[9:-1]
    family: IpWord = "ip6" if head[1] == "ip6" else "ip"
    return Table(family, head[2], comment, tuple(sets), tuple(chains))


def _block(rows: Iterator[str]) -> Iterator[str]:
    for line in rows:
        if line == "}":
            return
        yield line


def _chain(name: str, lines: list[str]) -> Chain:
    hook = None
    if lines and (match := re.match(r"type (nat|filter) hook (\w+) priority (-?\d+);", lines[0])):
        hook = msgspec.convert({"type": match[1], "hook": match[2], "priority": int(match[3])}, Hook)
        lines = lines[1:]
    return Chain(name, tuple(map(read_rule_or_stranger, lines)), hook)


def read_rule_or_stranger(text: str) -> Rule:
    """The rule, or one without statements and with the text as its comment, which no rule of ours equals."""
    try:
        return read_rule(text)
    except UnreadableError:
        return Rule((), text)


def read_rule(text: str) -> Rule:
    """One rule; UnreadableError where it has anything that this backend does not write."""
    comment = ""
    if match := re.fullmatch(r'(.*?) ?comment "([^"]*)"', text):
        text, comment = match.groups()
    statements: list[Statement] = []
    rest = re.sub(r"\(([^()]*)\)", r"\1", text)
    while rest:
        for pattern, read in STATEMENTS:
            found = pattern.match(rest)
            if found is not None:
                statements.append(read(found))
                rest = rest[found.end() :].lstrip()
                break
        else:
            raise UnreadableError(f"not written by this backend: {rest}")
    return Rule(tuple(statements), comment)


def number(text: str) -> int:
    """A mark, a classid or a plain number."""
    if text == "none":
        return 0
    if ":" in text:
        high, _, low = text.partition(":")
        return int(high or "0", 16) << 16 | int(low or "0", 16)
    return int(text, 0)


def key(text: str) -> Key:
    return Key(tuple(map(_part, text.split(" . "))))


def _part(text: str) -> Part:
    if text.startswith("numgen"):
        return Random(int(text.rsplit(" ", 1)[1]))
    if text.startswith("jhash"):
        return Hashed(" ".join(text.split()[1:3]))
    name, found, mask = text.partition(" & ")
    return Masked(name, number(mask)) if found else Field(name)


def _compare(found: re.Match[str]) -> Statement:
    left = _part(found[1])
    values = tuple(value.strip() for value in found[3].strip("{} ").split(","))
    assert isinstance(left, Field | Masked)  # noqa: S101  the pattern admits nothing else
    return Compare(left, values, negated=found[2] == "!=")


def _change(found: re.Match[str]) -> Statement:
    if found[1] != found[2]:
        raise UnreadableError(found[0])
    bits = number(found[4])
    return Change(found[1], keep=bits) if found[3] == "&" else Change(found[1], add=bits)


def _dispatch(found: re.Match[str]) -> Statement:
    left = _part(found[1])
    if not isinstance(left, Masked):
        raise UnreadableError(found[0])
    ways = []
    for entry in found[2].split(","):
        value, _, chain = entry.strip().partition(" : goto ")
        ways.append((number(value), chain))
    return Dispatch(left, tuple(sorted(ways)))


def seconds(text: str) -> int:
    """`3h`, `1d2m`."""
    sizes = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    return sum(int(count) * sizes[unit] for count, unit in re.findall(r"(\d+)([dhms])", text))


def _word(found: re.Match[str]) -> Statement:
    return Word(found[0])  # type: ignore[arg-type]  # the pattern lists them


def _ip(word: str) -> IpWord:
    return "ip6" if word == "ip6" else "ip"


STATEMENTS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Statement]], ...] = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (rf"({FIELDS}) set ({FIELDS}) ([&|]) ({NUMBER})(?! \.| map)(?= |$)", _change),
        (rf"({FIELDS}) set ({NUMBER})(?= |$)", lambda m: Put(m[1], number(m[2]))),
        (rf"({FIELDS}) set ({KEY}) map @({NAME})", lambda m: Fetch(m[1], key(m[2]), m[3])),
        (rf"dnat (ip6?) to ({KEY}) map @({NAME})", lambda m: Translate(_ip(m[1]), key(m[2]), m[3])),
        (
            rf"update @({NAME}) \{{ ({KEY}) timeout (\w+) : ({FIELDS}) \}}",
            lambda m: Remember(m[1], key(m[2]), seconds(m[3]), m[4]),
        ),
        (rf"delete @({NAME}) \{{ ({KEY}) : ({FIELDS}) \}}", lambda m: Forget(m[1], key(m[2]), m[3])),
        (rf"({PART}) vmap \{{ ([^}}]*) \}}", _dispatch),
        (rf"({KEY}) @({NAME})", lambda m: Member(key(m[1]), m[2])),
        (r"jump (\S+)", lambda m: Go("jump", m[1])),
        (r"goto (\S+)", lambda m: Go("goto", m[1])),
        (r"return|drop|accept|reject with tcp reset|reject(?! with)|masquerade fully-random", _word),
        (rf"({PART})(?: (!=|==))? (\{{[^}}]*\}}|{VALUE})", _compare),
    )
)
