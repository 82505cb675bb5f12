"""The kernel objects of the nftables backend as values: tables, sets, chains, rules, and what rules are made of.

Exactly the part of nft's language that this backend uses, printed as nft reads it and, but for the spelling of masks,
as it lists it, so that what was rendered can be compared with what was read back. `listing` reads the text, `simulate`
runs the values. Pure: nothing here talks to a kernel.
"""

from typing import Literal

from clew.base.value import Value
from clew.ir.proxying import IpWord as IpWord  # noqa: PLC0414 - everybody here has it from objects

Verb = Literal["jump", "goto"]

CLASSID_FIELDS = frozenset({"meta priority"})


def classid(number: int) -> str:
    """A priority as nft prints it: two halves in hexadecimal, "none" for 0."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}" if number else "none"


def mark(number: int) -> str:
    return f"0x{number:08x}"


def constant(field: str, number: int) -> str:
    """A number in the spelling of a field's type."""
    return classid(number) if field in CLASSID_FIELDS else mark(number)


class Field(Value, tag=True):
    """Something of a packet, in nft's words: "ip daddr", "th dport", "meta mark", "fib daddr type"."""

    name: str

    def __str__(self) -> str:
        return self.name


class Masked(Value, tag=True):
    """Some bits of a field."""

    name: str
    mask: int

    def __str__(self) -> str:
        return f"{self.name} & {mark(self.mask)}"


class Random(Value, tag=True):
    """A number below `modulus`, drawn anew each time."""

    modulus: int

    def __str__(self) -> str:
        return f"numgen random mod {self.modulus}"


class Hashed(Value, tag=True):
    """A field as a number of 32 bits, the same on every node and after every start."""

    name: str

    def __str__(self) -> str:
        return f"jhash {self.name} mod {HASH_MODULUS} seed {HASH_SEED:#x}"


HASH_MODULUS = 0xFFFFFFFF
HASH_SEED = 0x636C6577

Part = Field | Masked | Random | Hashed


class Key(Value, tag=True):
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        """Nft reads bits within a longer key only in parentheses, and prints them without."""
        if len(self.parts) == 1:
            return str(self.parts[0])
        return " . ".join(f"({part})" if isinstance(part, Masked) else str(part) for part in self.parts)


class Compare(Value, tag=True):
    """A field against words or prefixes: one of them, or (negated) none of them."""

    left: Field | Masked
    values: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        values = self.values[0] if len(self.values) == 1 else "{ " + ", ".join(self.values) + " }"
        sign = " !=" if self.negated else " ==" if isinstance(self.left, Masked) else ""
        return f"{self.left}{sign} {values}"


class Member(Value, tag=True):
    """Whether a set has the key."""

    key: Key
    set: str

    def __str__(self) -> str:
        return f"{self.key} @{self.set}"


class Change(Value, tag=True):
    """Clear and set bits of a field: `(field & keep) | add`, one of the two at a time."""

    field: str
    keep: int | None = None
    add: int | None = None

    def __str__(self) -> str:
        sign, number = ("&", self.keep) if self.keep is not None else ("|", self.add)
        return f"{self.field} set {self.field} {sign} {mark(number or 0)}"


class Put(Value, tag=True):
    """A constant into a field."""

    field: str
    number: int

    def __str__(self) -> str:
        return f"{self.field} set {constant(self.field, self.number)}"


class Fetch(Value, tag=True):
    """A map's value into a field; where the map has no such key, the rule ends here."""

    field: str
    key: Key
    map: str

    def __str__(self) -> str:
        return f"{self.field} set {self.key} map @{self.map}"


class Translate(Value, tag=True):
    """Destination address and port from a map; the packet's way through this hook is over then."""

    ip: IpWord
    key: Key
    map: str

    def __str__(self) -> str:
        return f"dnat {self.ip} to {self.key} map @{self.map}"


class Remember(Value, tag=True):
    """Put a field's value under a key for a while. Where the key is there, only its time begins anew."""

    map: str
    key: Key
    seconds: int
    field: str

    def __str__(self) -> str:
        return f"update @{self.map} {{ {self.key} timeout {duration(self.seconds)} : {self.field} }}"


class Forget(Value, tag=True):
    map: str
    key: Key
    field: str

    def __str__(self) -> str:
        return f"delete @{self.map} {{ {self.key} : {self.field} }}"


class Go(Value, tag=True):
    verb: Verb
    chain: str

    def __str__(self) -> str:
        return f"{self.verb} {self.chain}"


class Dispatch(Value, tag=True):
    """Some bits of a field decide on the chain; where none is for them, the rule ends here."""

    left: Masked
    ways: tuple[tuple[int, str], ...]  # number, chain to go to

    def __str__(self) -> str:
        ways = ", ".join(f"{number >> 16:x}:{number & 0xFFFF:x} : goto {chain}" for number, chain in self.ways)
        return f"{self.left} vmap {{ {ways} }}"


class Word(Value, tag=True):
    """A statement without arguments of ours."""

    text: Literal["return", "drop", "accept", "reject", "reject with tcp reset", "masquerade fully-random"]

    def __str__(self) -> str:
        return self.text


Statement = Compare | Member | Change | Put | Fetch | Translate | Remember | Forget | Go | Dispatch | Word


class Rule(Value):
    statements: tuple[Statement, ...]
    comment: str = ""

    def __str__(self) -> str:
        text = " ".join(map(str, self.statements))
        return f'{text} comment "{self.comment}"' if self.comment else text


class Hook(Value):
    type: Literal["nat", "filter"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int

    def __str__(self) -> str:
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy accept;"


class Chain(Value):
    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None


class SetDeclaration(Value):
    """`body`: the declaration's lines as nft prints them ("type …", "flags …", "comment …")."""

    kind: Literal["set", "map"]
    name: str
    body: tuple[str, ...]


class Table(Value):
    family: IpWord
    name: str
    comment: str
    sets: tuple[SetDeclaration, ...]
    chains: tuple[Chain, ...]

    def chain(self, name: str) -> Chain:
        return next(chain for chain in self.chains if chain.name == name)


UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def duration(seconds: int) -> str:
    """As nft prints a time: `1d2h3m4s`, without what is zero."""
    text = ""
    for unit, size in UNITS:
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
