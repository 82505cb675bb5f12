"""iptables of the running kernel, by its own programs, inside a network namespace: the real half of the port.

The legacy programs are taken where they are and this kernel has their tables: a change among 5,000 services costs them
half a second, the nft ones seventeen. Which ones is found out once, at the first write; who only reads or cleans up
takes those that have tables, and makes none.
"""

import errno
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from clew.base.addresses import Family
from clew.kernel.iptables.port import IptablesError
from clew.kernel.netns import Namespace, run_in

Kind = Literal["legacy", "nft"]
T = TypeVar("T")

KINDS: tuple[Kind, ...] = ("legacy", "nft")
WAIT = "5"  # seconds for the lock of another iptables
PATIENCE = 60  # seconds for a program
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ABSENT = "No chain/target/match by that name"
COUNTS = re.compile(r" ?-c (\d+) \d+(?= -[jg] |$)")  # of packets and bytes, before the rule's target
NAMES = {4: "ip_tables_names", 6: "ip6_tables_names"}
WORDS = {4: "iptables", 6: "ip6tables"}


class KernelIptables:
    """`ns`: the network namespace to work in (path or descriptor); None: the calling thread's own."""

    def __init__(self, ns: Namespace | None = None, kind: Kind | None = None) -> None:
        self._ns = ns
        self._kind = kind

    def close(self) -> None:
        """Nothing is held."""

    @property
    def kind(self) -> Kind:
        """Which programs; IptablesError where there are none that work here."""
        if self._kind is None:
            self._kind = self._find()
        return self._kind

    def kinds(self) -> Sequence["KernelIptables"]:
        there = [kind for kind in KINDS if shutil.which(f"iptables-{kind}-save", path=PATH)]
        return [KernelIptables(self._ns, kind) for kind in there]

    def others(self) -> Sequence["KernelIptables"]:
        return [each for each in self.kinds() if each.kind != self.kind]

    def restore(self, family: Family, script: str) -> None:
        program = f"{WORDS[family]}-{self.kind}-restore"
        self._run([program, "--noflush", "--wait", WAIT], script, "change rules")

    def save(self, family: Family, table: str) -> str:
        kind, tables = self._there(family)
        if table not in tables:
            return ""
        program = f"{WORDS[family]}-{kind}-save"
        text = self._run([program, "-t", table], "", f"read table {table}")
        return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))

    def met(self, family: Family, table: str, chain: str) -> Mapping[str, int]:
        kind, tables = self._there(family)
        if table not in tables:
            return {}
        command = [f"{WORDS[family]}-{kind}", "--wait", WAIT, "-t", table, "-S", chain, "-v"]
        try:
            text = self._run(command, "", f"count what chain {chain} met")
        except IptablesError as refused:
            if ABSENT in refused.detail:
                return {}
            raise
        rows = (line.removeprefix(f"-A {chain} ") for line in text.splitlines() if line.startswith("-A "))
        counts = ((row, list(COUNTS.finditer(row))[-1]) for row in rows)  # a comment may read like one
        return {(row[: found.start()] + row[found.end() :]).lstrip(): int(found[1]) for row, found in counts}

    def tables(self, family: Family) -> Collection[str]:
        return self._there(family)[1]

    def _there(self, family: Family) -> tuple[Kind, Collection[str]]:
        """Tables, and whose they are; where nothing was decided yet, of the first kind that has any."""
        for kind in (self._kind,) if self._kind else KINDS:
            if tables := self._inside(partial(_names, family)) if kind == "legacy" else self._nft_tables(family):
                return kind, tables
        return "legacy", ()

    def _nft_tables(self, family: Family) -> set[str]:
        program = f"{WORDS[family]}-nft-save"
        if shutil.which(program, path=PATH) is None:
            return set()
        text = self._run([program], "", "list tables")
        return {line[1:] for line in text.splitlines() if line.startswith("*")}

    def _find(self) -> Kind:
        refused = ""
        for kind in KINDS:
            program = f"iptables-{kind}"
            if shutil.which(program, path=PATH) is None:
                continue
            try:
                self._run([program, "--wait", WAIT, "-t", "nat", "-S", "POSTROUTING"], "", "look for the nat table")
            except IptablesError as why:
                refused = why.detail
                continue
            return kind
        detail = refused or "there is no program iptables; install the package iptables"
        raise IptablesError(errno.ENOENT, "use iptables", detail=detail)

    def _run(self, command: list[str], text: str, doing: str) -> str:
        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
                env={"PATH": PATH},
            )

        try:
            done = self._inside(run)
        except FileNotFoundError as absent:
            detail = f"there is no program {command[0]}; install the package iptables"
            raise IptablesError(errno.ENOENT, doing, detail=detail) from absent
        except subprocess.TimeoutExpired as late:
            raise IptablesError(errno.ETIMEDOUT, doing, detail=f"{command[0]} took over {PATIENCE} s") from late
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"{command[0]} ended with status {done.returncode}"
            raise IptablesError(errno.EINVAL, doing, detail=said)
        return done.stdout

    def _inside(self, fn: Callable[[], T]) -> T:
        return fn() if self._ns is None else run_in(self._ns, fn)


def _names(family: Family) -> set[str]:
    """The legacy tables that were made in the calling thread's namespace."""
    try:
        return set(Path("/proc/thread-self/net", NAMES[family]).read_text(encoding="ascii").split())
    except FileNotFoundError:
        return set()
