"""ipset without a kernel: the tests' half of the port, held to the real one by the same suite.

It checks every entry by the codec that the real half uses, and keeps it in the text that the kernel would give back.
"""

import errno
from collections.abc import Iterable

from clew.kernel.ipset import wire
from clew.kernel.ipset.port import NAME_LENGTH, IpSet, IpSetError
from clew.kernel.nfnetlink import nested


class FakeIpSets:
    """`used` are names that a rule refers to: a test fills it."""

    def __init__(self) -> None:
        self.declared: dict[str, IpSet] = {}
        self.content: dict[str, set[str]] = {}
        self.used: set[str] = set()
        self.changes = 0  # calls that changed something

    def close(self) -> None:
        """Nothing is held."""

    def sets(self) -> dict[str, IpSet]:
        return dict(self.declared)

    def create(self, what: IpSet) -> None:
        doing = f"create set {what.name} of type {what.kind}"
        if len(what.name.encode()) > NAME_LENGTH:
            raise IpSetError(errno.EINVAL, doing)
        known = self.declared.get(what.name)
        if known is None:
            self.declared[what.name] = what
            self.content[what.name] = set()
            self.changes += 1
        elif known != what:
            raise IpSetError(errno.EEXIST, doing)

    def destroy(self, name: str) -> None:
        if name in self.used:
            raise IpSetError(errno.EBUSY, f"destroy set {name}")
        if self.declared.pop(name, None):
            del self.content[name]
            self.changes += 1

    def entries(self, name: str) -> set[str]:
        return set(self._content(name, f"list set {name}"))

    def change(self, what: IpSet, remove: Iterable[str], add: Iterable[str]) -> None:
        for verb, texts in (("remove", list(remove)), ("add", list(add))):
            content = self._content(what.name, f"{verb} entries of set {what.name}") if texts else set()
            for text in texts:
                kept = self._checked(what, text)
                (content.add if verb == "add" else content.discard)(kept)
            self.changes += bool(texts)

    def _content(self, name: str, doing: str) -> set[str]:
        if name not in self.content:
            raise IpSetError(errno.ENOENT, doing)
        return self.content[name]

    def _checked(self, what: IpSet, text: str) -> str:
        """As the kernel would print it."""
        data = wire.entry(what, text)
        if text.endswith("/0"):
            raise IpSetError(4104, f"add {text} to set {what.name}", detail=wire.ERRORS[4104])
        return wire.read_entries(nested(wire.ADT, nested(wire.DATA, data)))[0]
