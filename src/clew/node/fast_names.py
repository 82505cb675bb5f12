"""The names of one zone that this node can answer for, kept as its facts change: a change costs what it changes.

No kernel and no API here. Made anew for another zone; called by node/dns_fast_path.
"""

from collections.abc import Iterator

from clew.compile import known_names
from clew.dataplane.dns_fast_path import render
from clew.dataplane.dns_fast_path.objects import NameEntry
from clew.facts.namespace import Namespace
from clew.facts.service import Service
from clew.ir.names import KnownName, KnownZone
from clew.store import StaleRevisionError, Table
from clew.store.table import Index

Key = tuple[str, str]
Changes = dict[bytes, NameEntry | None]  # by name below the zone; None: there is no such name any more


def by_namespace(services: Table[Service]) -> Index[Service]:
    return services.index(lambda each: (each.namespace,))


class FastNames:
    def __init__(
        self, zone: KnownZone, services: Table[Service], namespaces: Table[Namespace], within: Index[Service]
    ) -> None:
        """`within`: of these services, by their namespace."""
        self.zone = zone
        self._services, self._namespaces, self._within = services, namespaces, within
        self._seen = [0, 0]
        self._told = False  # of the names that every cluster has
        self._known: dict[Key, bytes] = {}  # of a service, or of a namespace under ("", name)
        self.entries: dict[bytes, NameEntry] = {each.key: each for each in self._own()}

    def _own(self) -> Iterator[NameEntry]:
        for each in known_names.fixed(self.zone.domain):
            entry = render.name(each, self.zone.domain)
            if entry is not None:
                yield entry
        yield from render.own_names(self.zone)

    def feed(self) -> Changes:
        """What became different since the last time; the first time, all that there is."""
        changes: Changes = {} if self._told else dict(self.entries)
        self._told = True
        dirty = self._changes(self._services, 0)
        for _, name in self._changes(self._namespaces, 1):
            dirty |= {("", name), *self._within.get(name)}
        for key in dirty:
            self._refresh(key, changes)
        return changes

    def _changes(self, table: "Table[Service] | Table[Namespace]", at: int) -> set[Key]:
        try:
            keys, self._seen[at] = table.changes_since(self._seen[at])
        except StaleRevisionError:
            keys, self._seen[at] = table.changes_since(0)
            keys |= {key for key in self._known if bool(key[0]) == (at == 0)}
        return keys

    def _refresh(self, key: Key, changes: Changes) -> None:
        before = self._known.pop(key, None)
        known = self._compiled(key)
        entry = render.name(known, self.zone.domain) if known else None
        if before is not None and (entry is None or entry.key != before):
            self.entries.pop(before, None)
            changes[before] = None
        if entry is not None:
            self._known[key] = entry.key
            if self.entries.get(entry.key) != entry:
                self.entries[entry.key] = changes[entry.key] = entry

    def _compiled(self, key: Key) -> KnownName | None:
        namespace, name = key
        if not namespace:
            return known_names.namespace_name(self.zone.domain, name) if ("", name) in self._namespaces else None
        service = self._services.get(key)
        if service is None or ("", namespace) not in self._namespaces:
            return None
        return known_names.service_name(self.zone.domain, service)
