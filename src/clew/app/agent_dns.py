"""The DNS fast path as a part of the agent: its tables, what fills them, and what becomes of it where it is off.

Made and run by app/agent.
"""

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from clew.api import kinds
from clew.app.dns_config import DnsConfiguration, object_key
from clew.base.clock import Clock
from clew.base.metrics import Registry
from clew.dataplane.dns_fast_path.apply import FastPathPlane
from clew.facts import corefile, namespace
from clew.facts.attachment import Attachment
from clew.kernel.netlink import Event, Netlink
from clew.node.dns_fast_path import DnsFastPath, FastPathSettings, FastPathTables
from clew.node.proxy import ProxyTables
from clew.store.table import Table
from clew.watch.client import Client
from clew.watch.reflector import Reflector


class DnsPart:
    def __init__(
        self,
        configuration: DnsConfiguration,
        tables: ProxyTables,
        attachments: Table[Attachment],
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._clock = clock
        self._settings = FastPathSettings(object_key(configuration.service), object_key(configuration.corefile))
        self._tables = FastPathTables(
            tables.services, tables.slices, Table("namespaces"), Table("corefiles"), attachments
        )
        self._path: DnsFastPath | None = None
        if configuration.fast_path == "ebpf":
            self._path = DnsFastPath(self._settings, self._tables, FastPathPlane(Netlink()), clock, registry)

    def health(self, kind: kinds.Kind) -> Callable[[bool], None] | None:
        """For the reflector of a kind: whether it hears the API server."""
        return partial(self._path.heard, kind.plural) if self._path else None

    def notice(self, events: Iterable[Event]) -> None:
        if self._path:
            self._path.notice(events)

    def tasks(self, client: Client) -> list[Coroutine[Any, Any, None]]:
        """What has to run while the agent does; nothing where it is off."""
        if self._path is None:
            return []
        where, name = self._settings.corefile
        names = Reflector(
            client, kinds.NAMESPACE, namespace.decode, self._tables.namespaces,
            clock=self._clock, health=self.health(kinds.NAMESPACE),
        )  # fmt: skip
        corefiles = Reflector(
            client, kinds.CONFIG_MAP, corefile.decode, self._tables.corefiles, namespace=where,
            fields=f"metadata.name={name}", clock=self._clock, health=self.health(kinds.CONFIG_MAP),
        )  # fmt: skip
        return [self._path.run(), names.run(), corefiles.run()]

    def initialise(self) -> None:
        """Where it is off, nothing of it stays. KernelError where the kernel refuses."""
        if self._path is None:
            remove()


def remove() -> None:
    """Take the filters of every fast path out of this network."""
    with Netlink() as kernel:
        FastPathPlane(kernel).remove()
