"""nftables without a kernel: the tests' half of the port, held to the real one by the same suite.

It takes one command a line, in the spelling in which nft prints (so its listing is nft's listing), keeps elements by
set, and refuses what nft 1.0.6 and the kernel refuse: names that do not exist or are in use, a priority's name on the
wrong hook, a statement in a chain from which it cannot work, a translation with ports where no transport was matched,
an element added again with another value, removed when absent, or overlapping in an interval set. What it does not
understand it refuses too. It does not evaluate packets: that is a simulator's job.
"""

import copy
import errno
import hashlib
import re
from collections.abc import Callable, Sequence

from clew.kernel.nft.port import ElementChange, ElementSet, Family, NftError

WORD = r"([a-zA-Z][\w./-]*)"
TABLE = rf"(ip6?|inet) {WORD}"
COMMANDS: tuple[tuple[str, str], ...] = (
    ("add_table", rf'add table {TABLE}(?: \{{ comment "([^"]*)"; \}})?'),
    ("delete_table", rf"delete table {TABLE}"),
    ("add_set", rf"add (set|map) {TABLE} {WORD} \{{ (.*) \}}"),
    ("delete_set", rf"delete (set|map) {TABLE} {WORD}"),
    ("add_chain", rf"add chain {TABLE} {WORD}(?: \{{ (.*) \}})?"),
    ("flush_chain", rf"flush chain {TABLE} {WORD}"),
    ("delete_chain", rf"delete chain {TABLE} {WORD}"),
    ("add_rule", rf"add rule {TABLE} {WORD} (.+)"),
)
HOOK = re.compile(r"type (filter|nat|route) hook (\w+) priority (-?\w+(?: [+-] \d+)?);(?: policy (accept|drop);)?")
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
ONLY_ON = {"dstnat": "prerouting", "srcnat": "postrouting"}
WORKS_ON = {  # statement -> chain types and hooks from which the kernel lets it be reached
    "dnat": ({"nat"}, {"prerouting", "output"}),
    "masquerade": ({"nat"}, {"postrouting"}),
    "snat": ({"nat"}, {"postrouting", "input"}),
    "reject": ({"nat", "filter"}, {"prerouting", "input", "forward", "output"}),
}
WORDS = frozenset(
    re.findall(
        r"\S+",
        """accept and add comment ct counter daddr delete dnat dport drop established fib fully-random goto icmp icmpv6
        iifgroup iifname invalid ip ip6 ipv4 ipv6 jhash jump l4proto local map mark masquerade meta mod new
        nfproto none numgen oifgroup oifname or original
        port-unreachable priority proto-dst random reject related reply reset return saddr sctp seed set snat state
        status tcp th timeout to type udp update vmap with""",
    )
)
LITERAL = re.compile(r"[0-9a-f:.x/-]+|0x[0-9a-f]+|\d+[smhd]|@.*|[{}(),:.|&]|[=!<>]=?|==|!=")


class _Set:
    def __init__(self, kind: str, lines: list[str]) -> None:
        self.kind = kind
        self.lines = lines
        self.elements: dict[bytes, bytes] = {}

    @property
    def interval(self) -> bool:
        return any(line.startswith("flags") and "interval" in line for line in self.lines)

    @property
    def data(self) -> str:
        return self.lines[0].rpartition(" : ")[2] if self.kind == "map" else ""


class _Chain:
    def __init__(self, hook: str) -> None:
        self.hook = hook  # "" for a chain that is only jumped to
        self.rules: list[str] = []

    @property
    def works(self) -> tuple[str, str]:
        """Type and hook of a base chain."""
        parts = self.hook.split()
        return parts[1], parts[3]


class _Table:
    def __init__(self, comment: str) -> None:
        self.comment = comment
        self.sets: dict[str, _Set] = {}
        self.chains: dict[str, _Chain] = {}


Tables = dict[tuple[str, str], _Table]


class FakeNft:
    """`fault`, if given, is asked before each write with its name (run, change) and may return an error to raise."""

    def __init__(self, fault: Callable[[str], NftError | None] | None = None) -> None:
        self.fault = fault
        self.writes: list[str] = []  # what was asked of the kernel, in order: "run", "change"
        self._tables: Tables = {}
        self._generation = 1

    def close(self) -> None:
        """Nothing is held."""

    def run(self, script: str) -> None:
        self._before("run")
        tables = copy.deepcopy(self._tables)
        script_run = _Script(tables)
        for line in script.splitlines():
            if line.strip():
                script_run.command(line.strip())
        script_run.check()
        self._tables = tables
        self._generation += 1

    def listing(self, family: Family, table: str) -> str | None:
        found = self._tables.get((family, table))
        return None if found is None else _listing(family, table, found)

    def fingerprint(self, family: Family, table: str) -> bytes:
        listing = self.listing(family, table)
        return b"" if listing is None else hashlib.blake2b(listing.encode(), digest_size=16).digest()

    def change(self, changes: Sequence[ElementChange]) -> None:
        self._before("change")
        before = {id(change): dict(self._set(change.target).elements) for change in changes}
        try:
            for change in changes:
                self._remove(change)
            for change in changes:
                self._add(change)
        except NftError:
            for change in reversed(changes):
                self._set(change.target).elements = before[id(change)]
            raise
        self._generation += 1

    def elements(self, target: ElementSet) -> dict[bytes, bytes]:
        return dict(self._set(target).elements)

    def generation(self) -> int:
        return self._generation

    def _before(self, write: str) -> None:
        if self.fault is not None:
            refusal = self.fault(write)
            if refusal is not None:
                raise refusal
        self.writes.append(write)

    def _set(self, target: ElementSet) -> _Set:
        table = self._tables.get((target.family, target.table))
        if table is None or target.name not in table.sets:
            raise NftError(errno.ENOENT, f"use {target}")
        return table.sets[target.name]

    def _remove(self, change: ElementChange) -> None:
        elements = self._set(change.target).elements
        for key in change.remove:
            if key not in elements:
                raise NftError(errno.ENOENT, f"remove an element from {change.target}", key=key)
            del elements[key]

    def _add(self, change: ElementChange) -> None:
        target, found = change.target, self._set(change.target)
        length = target.key_length * (2 if target.interval else 1)
        for key, value in change.add.items():
            what = f"add an element to {target}"
            if len(key) != length or len(value) < target.data_length or target.interval != found.interval:
                raise NftError(errno.EINVAL, what, key=key)
            if key in found.elements and found.elements[key][: target.data_length] != value[: target.data_length]:
                raise NftError(errno.EEXIST, what, key=key)
            if target.interval and any(
                _overlap(key, other, target.key_length) for other in found.elements if other != key
            ):
                raise NftError(errno.ENOTEMPTY, what, key=key)
            found.elements.setdefault(key, value)


def _overlap(one: bytes, other: bytes, length: int) -> bool:
    """Whether two ranges of concatenated fields have a key in common, field by field of four bytes."""
    return all(
        one[at : at + 4] <= other[length + at : length + at + 4]
        and other[at : at + 4] <= one[length + at : length + at + 4]
        for at in range(0, length, 4)
    )


class _Script:
    """Commands of one transaction, applied to a copy of the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def command(self, line: str) -> None:
        for name, pattern in COMMANDS:
            match = re.fullmatch(pattern, line)
            if match:
                getattr(self, f"_{name}")(*match.groups())
                return
        raise _error(errno.EINVAL, "syntax error", line)

    def _table(self, family: str, name: str) -> _Table:
        table = self._tables.get((family, name))
        if table is None:
            raise _error(errno.ENOENT, "No such file or directory", f"table {family} {name}")
        return table

    def _chain(self, family: str, table: str, name: str) -> _Chain:
        chain = self._table(family, table).chains.get(name)
        if chain is None:
            raise _error(errno.ENOENT, "No such file or directory", f"chain {name}")
        return chain

    def _add_table(self, family: str, name: str, comment: str | None) -> None:
        self._tables.setdefault((family, name), _Table(comment or ""))

    def _delete_table(self, family: str, name: str) -> None:
        self._table(family, name)
        del self._tables[family, name]

    def _add_set(self, kind: str, family: str, table: str, name: str, body: str) -> None:
        lines = [part.strip() for part in body.split(";") if part.strip()]
        order = ("typeof", "type", "size", "flags", "timeout", "comment")
        lines.sort(key=lambda part: order.index(part.split()[0]))
        sets = self._table(family, table).sets
        if name in sets and (sets[name].kind, sets[name].lines[0]) != (kind, lines[0]):
            raise _error(errno.EEXIST, "File exists", f"{kind} {name}")
        sets.setdefault(name, _Set(kind, lines))

    def _delete_set(self, _kind: str, family: str, table: str, name: str) -> None:
        if self._table(family, table).sets.pop(name, None) is None:
            raise _error(errno.ENOENT, "No such file or directory", name)

    def _add_chain(self, family: str, table: str, name: str, body: str | None) -> None:
        self._table(family, table).chains.setdefault(name, _Chain(_hook(body) if body else ""))

    def _flush_chain(self, family: str, table: str, name: str) -> None:
        self._chain(family, table, name).rules.clear()

    def _delete_chain(self, family: str, table: str, name: str) -> None:
        if self._chain(family, table, name).rules:
            raise _error(errno.EBUSY, "Device or resource busy", f"chain {name}")
        del self._table(family, table).chains[name]

    def _add_rule(self, family: str, table: str, chain: str, text: str) -> None:
        plain = re.sub(rf'"[^"]*"|(jump|goto) {WORD}', "", text)
        for word in re.sub("[,()]", " ", plain).split():
            if word not in WORDS and not LITERAL.fullmatch(word):
                raise _error(errno.EINVAL, f"syntax error, unexpected string '{word}'", text)
        self._chain(family, table, chain).rules.append(_respelt(text))

    def check(self) -> None:
        """What holds between the objects of every table when the transaction is over."""
        for table in self._tables.values():
            for chain in table.chains.values():
                for rule in chain.rules:
                    _check_names(table, rule)
                    _check_translation(table, rule)
                    _check_update(rule)
            for name, chain in table.chains.items():
                if chain.hook:
                    _check_reach(table, name, *chain.works, path=())


def _respelt(rule: str) -> str:
    """A rule as nft lists it: masks without parentheses, those of priorities as class ids."""
    rule = re.sub(r"\(([^()]*&[^()]*)\)", r"\1", rule)
    return re.sub(r"(meta priority &) 0x0*([0-9a-f]*)([0-9a-f]{4})\b", _as_classid, rule)


def _as_classid(mask: re.Match[str]) -> str:
    return f"{mask[1]} {mask[2] or '0'}:{mask[3].lstrip('0') or '0'}"


def _hook(body: str) -> str:
    match = HOOK.fullmatch(body)
    if not match:
        raise _error(errno.EINVAL, "syntax error", body)
    kind, hook, priority, policy = match.groups()
    base, _, shift = priority.partition(" ")
    if ONLY_ON.get(base, hook) != hook:
        raise _error(errno.EINVAL, f"'{base}' is invalid priority.", body)
    number = PRIORITIES[base] if base in PRIORITIES else int(base)
    number += int(shift.replace(" ", "")) if shift else 0
    return f"type {kind} hook {hook} priority {number}; policy {policy or 'accept'};"


def _check_update(rule: str) -> None:
    """Nft 1.0.6 keeps the value of an update in the register after the key's first 16 bytes, however long it is."""
    for key in re.findall(r"(?:update|delete) @\S+ \{ (.*?)(?: timeout \w+)? : ", rule):
        parts = [part for part in key.split(" . ") if "jhash" not in part]
        if len(parts) > 1 and any(part.startswith("ip6 ") for part in parts):
            raise _error(errno.EINVAL, "key and value overlap", rule)


def _targets(rule: str) -> list[str]:
    return re.findall(rf"\b(?:jump|goto) {WORD}", rule)


def _check_names(table: _Table, rule: str) -> None:
    for name in re.findall(rf"@{WORD}", rule):
        if name not in table.sets:
            raise _error(errno.ENOENT, "No such file or directory", f"set {name} in: {rule}")
    for name in _targets(rule):
        if name not in table.chains:
            raise _error(errno.ENOENT, "No such file or directory", f"chain {name} in: {rule}")


def _check_translation(table: _Table, rule: str) -> None:
    head, found, tail = rule.partition("dnat ip")
    if not found:
        return
    names = re.findall(rf"map @{WORD}", tail)
    ports = any(" . " in table.sets[name].data for name in names) or bool(
        re.search(r"to \S+:\d+$|map \{[^}]* : [^,}]* \. ", tail)
    )
    if any(re.search(r"\b(th|tcp|udp) dport$", table.sets[name].data) for name in names):
        raise _error(errno.EINVAL, "conflicting protocols specified: tcp vs. th", rule)
    if ports and not re.search(r"meta l4proto|\b(tcp|udp|sctp|th) ", head):
        raise _error(errno.EINVAL, "transport protocol mapping is only valid after transport protocol match", rule)


def _check_reach(table: _Table, name: str, kind: str, hook: str, path: tuple[str, ...]) -> None:
    if name in path:
        raise _error(errno.ELOOP, "Too many levels of symbolic links", " > ".join((*path, name)))
    for rule in table.chains[name].rules:
        for statement, (kinds, hooks) in WORKS_ON.items():
            if re.search(rf"(^|(?<!ct status) ){statement}( |$)", rule.partition(" comment ")[0]) and (
                kind not in kinds or hook not in hooks
            ):
                raise _error(errno.EOPNOTSUPP, "Operation not supported", f"{statement} from {kind} {hook} in: {rule}")
        for target in _targets(rule):
            _check_reach(table, target, kind, hook, (*path, name))


def _error(number: int, text: str, place: str) -> NftError:
    return NftError(number, "run an nft script", detail=f"{text} in: {place}")


def _listing(family: str, name: str, table: _Table) -> str:
    blocks = [[f"\t{found.kind} {title} {{", *(f"\t\t{line}" for line in found.lines), "\t}"]
              for title, found in table.sets.items()]  # fmt: skip
    for title, chain in table.chains.items():
        head = [f"\t\t{chain.hook}"] if chain.hook else []
        blocks.append([f"\tchain {title} {{", *head, *(f"\t\t{rule}" for rule in chain.rules), "\t}"])
    head = [f"table {family} {name} {{"] + ([f'\tcomment "{table.comment}"'] if table.comment else [])
    return "\n".join([*head, "\n\n".join("\n".join(block) for block in blocks), "}"]) + "\n"
