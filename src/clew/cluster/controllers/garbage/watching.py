"""Every kind that the server serves, followed: by the shared caches where there is one, else by their metadata only.

Kinds come and go with CustomResourceDefinitions. Used by the garbage collector alone.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from clew.api.kinds import CRD, Kind
from clew.api.objects import Object
from clew.cluster.controllers.context import Context
from clew.cluster.controllers.served import served_kinds
from clew.watch.backoff import Backoff
from clew.watch.errors import ApiError
from clew.watch.informer import Informer

logger = logging.getLogger(__name__)

Observe = Callable[[Kind, Object | None, Object | None], None]
NEEDED = frozenset({"delete", "list", "watch"})
IGNORED = frozenset({"events"})  # they expire by themselves and own nothing


class _Meta(msgspec.Struct, omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815  # the API's own names
    deletionTimestamp: str | None = None  # noqa: N815
    finalizers: list[str] | None = None
    ownerReferences: list[Object] | None = None  # noqa: N815


class _Head(msgspec.Struct):
    metadata: _Meta


_decode = msgspec.json.Decoder(_Head).decode


def metadata_only(data: bytes) -> Object:
    """Of an object only what ownership needs."""
    found: Object = msgspec.to_builtins(_decode(data))
    return found


class KindWatcher:
    """Calls `observe(kind, before, after)` for every object of every kind. Make it after all other controllers."""

    def __init__(self, context: Context, observe: Observe) -> None:
        self._client = context.client
        self._clock = context.clock
        self._observe = observe
        self._again = asyncio.Event()
        self._running: dict[Kind, tuple[Informer, asyncio.Task[None]]] = {}
        self.kinds: dict[tuple[str, str], Kind] = {}  # by (apiVersion's group, kind)
        context.informers.of(CRD).subscribe(lambda *_: self._again.set())
        self._shared = {_resource(kind): kind for kind in context.informers.whole()}
        for kind, informer in context.informers.whole().items():
            informer.subscribe(self._observer(kind))

    def _observer(self, kind: Kind) -> Callable[[Object | None, Object | None], None]:
        return lambda before, after: self._observe(kind, before, after)

    def find(self, api_version: str, kind: str) -> Kind | None:
        """The kind that a reference means, in whatever version it is served now."""
        group = api_version.rpartition("/")[0]
        return self.kinds.get((group, kind))

    async def run(self) -> None:
        """For ever: discover, follow, and again when a CustomResourceDefinition changed."""
        backoff = Backoff(0.2, 10.0)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._again.clear()
                try:
                    self._follow(await served_kinds(self._client), tasks)
                except ApiError as error:
                    logger.warning("garbage collection cannot learn what is served: %s", error)
                    await self._clock.sleep(backoff.next())
                    continue
                backoff.reset()
                await self._again.wait()

    def _follow(self, served: tuple[Kind, ...], tasks: asyncio.TaskGroup) -> None:
        self.kinds = {(kind.group, kind.kind): kind for kind in served}
        wanted = {
            kind
            for kind in served
            if NEEDED.issubset(kind.verbs) and kind.plural not in IGNORED and _resource(kind) not in self._shared
        }
        for kind in set(self._running) - wanted:
            informer, task = self._running.pop(kind)
            task.cancel()
            informer.replace({})
        for kind in wanted - set(self._running):
            informer = Informer(self._client, kind, trim=metadata_only, clock=self._clock)
            informer.subscribe(self._observer(kind))
            self._running[kind] = informer, tasks.create_task(informer.run(), name=f"follow {kind.plural}")


def _resource(kind: Kind) -> tuple[str, str]:
    return kind.group, kind.plural
