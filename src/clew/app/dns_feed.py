"""The cluster as the DNS server's kubernetes plugin sees it: watches, tables, and what of them changed.

Names are made by `compile.dns` when they are asked for; a change says only which services and addresses it touches.
Queries go on from memory while the API server is away. Called by app.dns.
"""

import asyncio
import logging
import ssl
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from clew.api.kinds import ENDPOINT_SLICE, NAMESPACE, POD, SERVICE
from clew.base.clock import Clock
from clew.base.errors import UserError
from clew.base.metrics import Registry
from clew.compile.dns import NameOptions, addresses, service_names
from clew.facts import endpointslice, namespace, pod, service
from clew.ir.names import Record
from clew.servers.dns.plugins.kubernetes import Kubernetes, Watching
from clew.store.table import Key, StaleRevisionError, Table
from clew.watch.client import Client
from clew.watch.collector import collector_off, settle
from clew.watch.credentials import tls_context
from clew.watch.reflector import Reflector

logger = logging.getLogger(__name__)

_REMEMBERED = 1024  # services whose records are kept as made


class Feed:
    """Four tables and the plugins that answer from them; the `Source` of those plugins."""

    def __init__(self, watching: Watching, own_ips: Collection[str], clock: Clock, registry: Registry) -> None:
        self.watching = watching
        self.own_ips = own_ips
        self.clock = clock
        self.services: Table[service.Service] = Table("services")
        self.slices: Table[endpointslice.EndpointSlice] = Table("endpointslices")
        self.namespaces: Table[namespace.Namespace] = Table("namespaces")
        self.pods: Table[pod.Pod] = Table("pods")
        self._by_service = self.slices.index(lambda part: (part.service_key,))
        self._pods_by_ip = self.pods.index(lambda each: each.ips)
        self._options = NameOptions(watching.pod_names, watching.ignore_empty)
        self._plugins: tuple[Kubernetes, ...] = ()
        self._changed = asyncio.Event()
        self._seen = [0, 0, 0, 0]  # revisions of services, slices, namespaces, pods
        self._service_of: dict[Key, Key] = {}
        self._ips_of: dict[Key, tuple[str, ...]] = {}
        self._holders: dict[str, tuple[Key, ...]] = {}
        self._made: dict[Key, dict[str, tuple[Record, ...]]] = {}
        self._settled = False
        self._took = registry.histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "From the change of an endpoint to its names.", ("service_kind",),
        )  # fmt: skip
        for table in self._tables():
            table.on_change(self._changed.set)

    def _tables(self) -> tuple[Table[Any], ...]:
        return self.services, self.slices, self.namespaces, self.pods

    # -- what plugins ask ---------------------------------------------------------------------------------------------

    def has_namespace(self, name: str) -> bool:
        wanted = self.watching.namespaces
        return ("", name) in self.namespaces and (not wanted or name in wanted)

    def records(self, key: Key, domain: str) -> tuple[Record, ...]:
        by_domain = self._made.get(key)
        if by_domain is None:
            if key not in self.services:
                return ()  # and not remembered: whoever asks for what is not there must not push out what is
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            by_domain = self._made[key] = {}
        if domain not in by_domain:
            by_domain[domain] = self._compiled(key, domain)
        return by_domain[domain]

    def _compiled(self, key: Key, domain: str) -> tuple[Record, ...]:
        try:
            return service_names(domain, self.services.get(key), self._slices(key), self._options).records
        except ValueError as wrong:
            logger.warning("Service %s/%s has no names: %s", *key, wrong)
            return ()

    def holders(self, ip: str) -> Collection[Key]:
        keys = [key for key in self._holders.get(ip, ()) if self.has_namespace(key[0])]
        fronts = [key for key in keys if ip in addresses(self.services.get(key), ())]
        return fronts or keys

    def pod_namespaces(self, ip: str) -> Collection[str]:
        return {key[0] for key in self._pods_by_ip.get(ip)}

    def _slices(self, key: Key) -> list[endpointslice.EndpointSlice]:
        return [part for each in sorted(self._by_service.get(key)) if (part := self.slices.get(each))]

    # -- what changes -------------------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        return all(table.in_sync for table in self._needed())

    def _needed(self) -> list[Table[Any]]:
        optional: list[tuple[Table[Any], bool]] = [
            (self.slices, self.watching.endpoints),
            (self.pods, self.watching.pods),
        ]
        return [self.services, self.namespaces, *(table for table, wanted in optional if wanted)]

    async def wait_synced(self) -> None:
        """Until the first complete lists have been taken in."""
        for table in self._needed():
            await table.wait_in_sync()
        self.feed()

    def serve(self, plugins: Iterable[Kubernetes]) -> None:
        """Feed these from now on."""
        self._plugins = tuple(plugins)
        for plugin in self._plugins:
            plugin.serve(self, self._stands_at(), self.own_ips)
            plugin.synced = self.synced

    async def run(self, client: Client) -> None:
        """Watch and feed for ever."""
        want = self.watching
        async with asyncio.TaskGroup() as group, client:
            spawn = group.create_task
            spawn(Reflector(client, SERVICE, service.decode, self.services, labels=want.labels).run())
            names = Reflector(client, NAMESPACE, namespace.decode, self.namespaces, labels=want.namespace_labels)
            spawn(names.run())
            if want.endpoints:
                spawn(Reflector(client, ENDPOINT_SLICE, endpointslice.decode, self.slices, labels=want.labels).run())
            if want.pods:
                spawn(Reflector(client, POD, pod.decode, self.pods).run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                with collector_off():
                    self.feed()

    def _changes(self, at: int) -> set[Key]:
        table = self._tables()[at]
        try:
            keys, self._seen[at] = table.changes_since(self._seen[at])
        except StaleRevisionError:
            keys, self._seen[at] = table.changes_since(0)
        return keys

    def feed(self) -> None:
        """Take in what changed since the last time, and tell the plugins."""
        dirty = self._changes(0)
        for key in self._changes(1):
            part = self.slices.get(key)
            before = self._service_of.pop(key, None)  # a slice that is gone no longer says whose it was
            if before is not None:
                dirty.add(before)
            if part is not None:
                dirty.add(part.service_key)
                self._service_of[key] = part.service_key
                self._programmed(part)
        spaces, pods = self._changes(2), self._changes(3)
        touched: set[str] = set()
        for key in dirty:
            touched |= self._index(key)
            self._made.pop(key, None)
        self._tell(dirty, touched, spaces=bool(spaces), pods=bool(pods))

    def _tell(self, dirty: set[Key], touched: set[str], *, spaces: bool, pods: bool) -> None:
        synced = self.synced
        for plugin in self._plugins:
            if dirty or touched or pods:
                plugin.changed(dirty, touched, pods=pods)
            if spaces:
                plugin.namespaces_changed()
            if touched & set(self.own_ips) or (synced and not plugin.synced):
                plugin.serve(self, self._stands_at(), self.own_ips)
            plugin.synced = plugin.synced or synced
        if synced and not self._settled:
            self._settled = True
            settle()

    def _index(self, key: Key) -> set[str]:
        """Bring the reverse index up to date with a service; the addresses whose names may have changed."""
        before = self._ips_of.get(key, ())
        after = addresses(self.services.get(key), self._slices(key))
        for ip in before:
            left = tuple(each for each in self._holders.get(ip, ()) if each != key)
            if left:
                self._holders[ip] = left
            else:
                self._holders.pop(ip, None)
        for ip in after:
            self._holders[ip] = (*self._holders.get(ip, ()), key)
        if after:
            self._ips_of[key] = after
        else:
            self._ips_of.pop(key, None)
        return {*before, *after}

    def _stands_at(self) -> tuple[Key, ...]:
        found = {key: None for ip in self.own_ips for key in self._holders.get(ip, ())}
        return tuple(key for key in found if self.has_namespace(key[0]))

    def _programmed(self, part: endpointslice.EndpointSlice) -> None:
        if not part.changed or not self._settled:
            return  # what happened before this program started was not programmed by it
        try:
            began = datetime.fromisoformat(part.changed)
        except ValueError:
            return
        found = self.services.get(part.service_key)
        kind = "headless_with_selector" if found and found.headless and found.has_selector else "cluster_ip"
        if found and found.headless and not found.has_selector:
            kind = "headless_without_selector"
        self._took.observe(max((self.clock.now() - began).total_seconds(), 0.0), kind)


def client_for(watching: Watching, kubeconfig: str) -> Client:
    """How the API server is reached: the plugin's own words first, the command's option, else the service account."""
    if watching.endpoint:
        return Client(watching.endpoint, ssl=_tls(watching.tls))
    if watching.kubeconfig or kubeconfig:
        return Client.from_kubeconfig(watching.kubeconfig or kubeconfig, watching.kube_context)
    return Client.in_cluster()


def _tls(files: tuple[str, ...]) -> ssl.SSLContext | None:
    """`tls CERT KEY CA` as the plugin takes it; UserError where a file cannot be read."""
    if not files:
        return None
    try:
        certificate, key, *authority = (Path(name).read_bytes() for name in files)
    except (OSError, ValueError) as error:
        raise UserError(f"kubernetes: tls {' '.join(files)}: {error}", "it takes CERT KEY CACERT") from None
    return tls_context(b"".join(authority), certificate, key)
