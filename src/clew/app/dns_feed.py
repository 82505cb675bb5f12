"""Keeps the DNS server's zones equal to the cluster's services: watch, compile what changed, feed.

Queries go on from memory while the API server is away. Called by app.dns.
"""

import asyncio
from collections.abc import Callable, Iterable

from clew.api.kinds import ENDPOINT_SLICE, NAMESPACE, SERVICE
from clew.compile.dns import service_names
from clew.facts import endpointslice, namespace, service
from clew.servers.dns.plugins.kubernetes import Kubernetes
from clew.store.table import Key, StaleRevisionError, Table
from clew.watch.client import Client
from clew.watch.reflector import Reflector


class Feed:
    """Three tables and the plugins that answer from them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.services: Table[service.Service] = Table("services")
        self.slices: Table[endpointslice.EndpointSlice] = Table("endpointslices")
        self.namespaces: Table[namespace.Namespace] = Table("namespaces")
        self._by_service = self.slices.index(lambda part: (part.service_key,))
        self._plugins: tuple[Kubernetes, ...] = ()
        self._changed = asyncio.Event()
        self._seen = (0, 0)
        self._service_of: dict[Key, Key] = {}
        for table in (self.services, self.slices, self.namespaces):
            table.on_change(self._changed.set)

    def serve(self, plugins: Iterable[Kubernetes]) -> None:
        """Feed these from now on, at once with all that is known."""
        self._plugins = tuple(plugins)
        self._seen = (0, 0)
        self._feed()

    async def run(self, client: Client) -> None:
        """Watch and feed for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(Reflector(client, SERVICE, service.decode, self.services).run())
            group.create_task(Reflector(client, ENDPOINT_SLICE, endpointslice.decode, self.slices).run())
            group.create_task(Reflector(client, NAMESPACE, namespace.decode, self.namespaces).run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._feed()

    def _dirty(self) -> set[Key]:
        """The services to compile again."""
        try:
            services, first = self.services.changes_since(self._seen[0])
            slices, second = self.slices.changes_since(self._seen[1])
        except StaleRevisionError:
            self._seen = (0, 0)
            return self._dirty()
        self._seen = (first, second)
        for key in slices:
            part = self.slices.get(key)
            before = self._service_of.pop(key, None)  # a slice that is gone no longer says whose it was
            if before is not None:
                services.add(before)
            if part is not None:
                services.add(part.service_key)
                self._service_of[key] = part.service_key
        return services

    def _feed(self) -> None:
        dirty = self._dirty()
        synced = self.services.in_sync and self.slices.in_sync and self.namespaces.in_sync
        names = frozenset(name for _, name in dict(self.namespaces.items()))
        for plugin in self._plugins:
            for key in dirty:
                self._feed_one(plugin, key)
            plugin.namespaces = names
            plugin.synced = plugin.synced or synced

    def _feed_one(self, plugin: Kubernetes, key: Key) -> None:
        parts = [part for each in sorted(self._by_service.get(key)) if (part := self.slices.get(each))]
        try:
            plugin.feed(key, service_names(plugin.domain, self.services.get(key), parts).records)
        except ValueError as wrong:
            self.say(f"[WARNING] plugin/kubernetes: Service {key[0]}/{key[1]} is left out: {wrong}")
            plugin.feed(key, ())
