"""Rules and chains as text, and what a rule's words mean to a reader.

A rule is the text that `iptables-save` prints behind `-A CHAIN`: options in its order, masks written out, comments as
`comment` spells them. Text that is rendered so equals what is read back, with the legacy and with the nft programs.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache

from clew.base.value import Value

Chains = Mapping[str, tuple[str, ...]]  # chain -> rules
Ruleset = Mapping[str, Chains]  # table -> chains

ARGUMENTS = {"--tcp-flags": 2, "--match-set": 2}  # options that take another number of words than one
BARE = frozenset(
    {"--reap", "--rsource", "--rdest", "--random", "--random-fully", "--physdev-is-in", "--physdev-is-out"}
    | {"--physdev-is-bridged", "--limit-iface-in", "--limit-iface-out", "--rcheck", "--update", "--set", "--remove"}
)


class Option(Value):
    """One condition, or one argument of the target; `module` is "" for what needs no `-m`."""

    module: str
    name: str
    value: str = ""
    negated: bool = False


class Parsed(Value):
    conditions: tuple[Option, ...]
    target: str  # "" for a rule that only counts
    arguments: tuple[Option, ...]  # of the target

    def argument(self, name: str) -> str | None:
        return next((each.value for each in self.arguments if each.name == name), None)


def comment(text: str) -> str:
    """The option, quoted where iptables-save would quote it (xtables_save_string)."""
    if re.fullmatch(r"[\w-]+", text, re.ASCII):
        return f"--comment {text}"
    return '--comment "' + re.sub(r"([\"\\'])", r"\\\1", text) + '"'


def whole(prefix: str) -> str:
    """A prefix or address as iptables-save prints it: with its length."""
    return prefix if "/" in prefix else f"{prefix}/{128 if ':' in prefix else 32}"


def comes_from(prefixes: Iterable[str], interface: str = "") -> tuple[str, ...]:
    """Conditions, any of which is true of what comes from there; an interface (`cbr0`, `veth*`) counts alone."""
    if interface:
        return (f"-i {interface.removesuffix('*')}+" if interface.endswith("*") else f"-i {interface}",)
    return tuple(f"-s {whole(prefix)}" for prefix in prefixes)


@lru_cache(maxsize=4096)
def parse(rule: str) -> Parsed:
    """The words of a rule, sorted into conditions and target. ValueError: no rule."""
    words = shlex.split(rule)
    conditions: list[Option] = []
    arguments: list[Option] = []
    module = target = ""
    negated = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        if not word.startswith("-"):
            raise ValueError(f"{word!r} is out of place in {rule!r}")
        bare = word in BARE and not (word == "--set" and module == "statistic")
        count = 0 if bare else ARGUMENTS.get(word, 1)
        value = " ".join(words[at : at + count])
        at += count
        if word == "-m":
            module = value
        elif word in {"-j", "-g"}:
            target = value
        else:
            option = Option(module if word.startswith("--") else "", word, value, negated)
            (arguments if target else conditions).append(option)
        negated = False
    return Parsed(tuple(conditions), target, tuple(arguments))


def read(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """What `iptables-save` printed: rules by table and chain. Counters and policies are passed over."""
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    gathered: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            gathered = {}
            table = line[1:].strip()
        elif line.startswith(":"):
            gathered[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            _, chain, *rest = line.split(" ", 2)
            gathered.setdefault(chain, []).append(rest[0] if rest else "")
        elif line.startswith("COMMIT"):
            tables[table] = {chain: tuple(rules) for chain, rules in gathered.items()}
    return tables
