"""Who owns whom, by uid, and what follows from it. Pure: no client, no clock.

The rules are kube-controller-manager's garbage collector's: an owner is solid while it exists, waiting while it is
being deleted in the foreground, dangling when it is gone. An object with a solid owner stays and sheds the others.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from clew.api.kinds import Kind
from clew.api.objects import Key, Object, is_deleting, key_of, metadata, uid_of
from clew.base.value import Value

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
Propagation = Literal["Background", "Foreground", "Orphan"]


class Owner(Value):
    """An ownerReference, as far as it matters here."""

    uid: str
    api_version: str
    kind: str
    name: str
    blocks: bool


class Item(Value):
    """An object in the graph."""

    kind: Kind
    key: Key
    uid: str
    owners: tuple[Owner, ...]
    finalizers: tuple[str, ...]
    deleting: bool

    @property
    def in_foreground(self) -> bool:
        """Being deleted, and waiting for its dependents to go first."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphans(self) -> bool:
        """Being deleted, and waiting for its dependents to be set free."""
        return self.deleting and ORPHAN in self.finalizers


def item(kind: Kind, obj: Object) -> Item:
    owners = tuple(
        Owner(
            str(each.get("uid") or ""),
            str(each.get("apiVersion") or ""),
            str(each.get("kind") or ""),
            str(each.get("name") or ""),
            bool(each.get("blockOwnerDeletion")),
        )
        for each in metadata(obj).get("ownerReferences") or ()
    )
    return Item(kind, key_of(obj), uid_of(obj), owners, tuple(metadata(obj).get("finalizers") or ()), is_deleting(obj))


class Graph:
    """Items by uid and, for every owner's uid, its dependents. Ask `touched` what to look at after a change."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, set[str]] = {}

    def get(self, uid: str) -> Item | None:
        return self._items.get(uid)

    def items(self) -> Iterable[Item]:
        return self._items.values()

    def dependents(self, uid: str) -> list[Item]:
        return [self._items[each] for each in self._dependents.get(uid, ())]

    def put(self, new: Item) -> list[str]:
        """Enter an object; the uids to look at now."""
        old = self._items.get(new.uid)
        if old == new:
            return []
        if old is not None:
            self._unlink(old)
        self._items[new.uid] = new
        for owner in new.owners:
            self._dependents.setdefault(owner.uid, set()).add(new.uid)
        touched = [new.uid] if new.owners or new.deleting else []
        if new.in_foreground and not (old and old.in_foreground):
            touched += self._dependents.get(new.uid, ())
        gone = {owner.uid for owner in (old.owners if old else ())} - {owner.uid for owner in new.owners}
        return touched + [uid for uid in gone if self._waits(uid)]

    def drop(self, uid: str) -> list[str]:
        """An object is gone; the uids to look at now: its dependents, and owners that waited for it."""
        old = self._items.pop(uid, None)
        if old is None:
            return []
        self._unlink(old)
        waiting = [owner.uid for owner in old.owners if self._waits(owner.uid)]
        return waiting + list(self._dependents.get(uid, ()))

    def _waits(self, uid: str) -> bool:
        found = self._items.get(uid)
        return found is not None and (found.in_foreground or found.orphans)

    def _unlink(self, old: Item) -> None:
        for owner in old.owners:
            dependents = self._dependents.get(owner.uid)
            if dependents is not None:
                dependents.discard(old.uid)
                if not dependents:
                    del self._dependents[owner.uid]

    def blocking(self, uid: str) -> list[Item]:
        """The dependents that a foreground deletion of this owner waits for."""
        return [
            each for each in self.dependents(uid) if any(owner.uid == uid and owner.blocks for owner in each.owners)
        ]


class Verdict(Value):
    """What to do with an object that is not being deleted itself."""

    delete: Propagation | None = None
    shed: tuple[str, ...] = ()  # uids of owners to take off its references


def verdict(graph: Graph, found: Item, absent: frozenset[str]) -> Verdict:
    """Decide by its owners; `absent` are uids of owners that surely do not exist (or are not in its namespace).

    An owner that is neither in the graph nor known to be absent counts as solid: nothing is deleted on a guess.
    """
    solid, waiting, dangling = [], [], []
    for owner in found.owners:
        known = graph.get(owner.uid)
        if owner.uid in absent:
            dangling.append(owner.uid)
        elif known is not None and known.in_foreground:
            waiting.append(owner.uid)
        else:
            solid.append(owner.uid)
    if not found.owners:
        return Verdict()
    if solid:
        return Verdict(shed=tuple(dangling + waiting))
    if waiting and graph.dependents(found.uid):
        return Verdict(delete="Foreground")
    if ORPHAN in found.finalizers:
        return Verdict(delete="Orphan")
    return Verdict(delete="Foreground" if FOREGROUND in found.finalizers else "Background")


def without_owners(obj: Mapping[str, Any], uids: Iterable[str]) -> list[Object]:
    """The object's ownerReferences without these."""
    gone = set(uids)
    return [dict(each) for each in metadata(obj).get("ownerReferences") or () if each.get("uid") not in gone]
