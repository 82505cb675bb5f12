"""Keeps a sink equal to a collection of the API server: list, then watch, for ever.

Not a cache (the sink is one) and not a client (it retries nothing). It resumes after the last change it passed on,
lists again when that is compacted, waits ever longer while the server is away and leaves the sink as it was. A sink
sees existence, never events: `replace` with all, `put` with one, `put(key, None)` for what is gone. Each object is
decoded once. Called by nodes' agents, DNS, kubelets and by informers.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Generic, Protocol, TypeVar

import msgspec

from clew.api.kinds import Kind
from clew.api.objects import Key
from clew.base.clock import Clock, SystemClock
from clew.watch.backoff import Backoff
from clew.watch.client import Page, WatchEvent
from clew.watch.collector import collector_off
from clew.watch.errors import ApiError

F = TypeVar("F")
F_contra = TypeVar("F_contra", contravariant=True)

logger = logging.getLogger(__name__)

INITIAL_END = "k8s.io/initial-events-end"
BRIEF = 1.0  # seconds; a watch that ends sooner and brought nothing counts as a failure
EXPECTED_END = frozenset({400, 422})  # how a server without streaming lists answers to one


class Sink(Protocol[F_contra]):
    def replace(self, items: Mapping[Key, F_contra]) -> None:
        """Exactly these exist."""
        ...

    def put(self, key: Key, fact: F_contra | None) -> None:
        """One object exists as given; None: it does not exist."""
        ...


class Source(Protocol):
    """What a reflector needs of a client."""

    def pages(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> AsyncIterator[Page]: ...

    def watch(  # noqa: PLR0913  # keywords with defaults, as in the API
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        initial_events: bool = False,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent, None]: ...


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815  # the API's own name
    annotations: dict[str, str] | None = None


class _Head(msgspec.Struct):
    metadata: _Meta


_head = msgspec.json.Decoder(_Head).decode


class Reflector(Generic[F]):
    """One collection into one sink.

    `decode` turns an object's JSON into (key, fact), fact None for what the sink should not have; it may raise
    msgspec.DecodeError, which is logged and counts as not there. `progress` is told every version up to which the
    sink is complete, `health` whether the server is heard: False while it cannot be reached. With `streaming` the first
    list comes through the watch (KEP-3157) where the server can.
    """

    def __init__(  # noqa: PLR0913  # keywords with defaults; what is watched, where to, and when
        self,
        client: Source,
        kind: Kind,
        decode: Callable[[bytes], tuple[Key, F | None]],
        sink: Sink[F],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        clock: Clock | None = None,
        progress: Callable[[str], None] | None = None,
        health: Callable[[bool], None] | None = None,
        streaming: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._decode = decode
        self._sink = sink
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._clock = clock or SystemClock()
        self._progress = progress or (lambda _: None)
        self._health = health or (lambda _: None)
        self._streaming = streaming
        self._backoff = backoff or Backoff()
        self._version = ""  # where to resume; "" before the first list and after a compaction
        self._newest: bytes | None = None  # the last object passed on; its version is read only when resuming
        self._initial: dict[Key, F] | None = None  # a streamed list that is not complete yet
        self._said = ""

    async def run(self) -> None:
        """For ever; only cancellation ends it."""
        while True:
            started = self._clock.monotonic()
            try:
                if not self._resume_from() and not self._streaming:
                    await self._list()
                useful = await self._watch()
            except ApiError as error:
                self._failed(error)
                await self._clock.sleep(self._backoff.next())
                continue
            self._initial = None
            if not useful and self._clock.monotonic() - started < BRIEF:
                await self._clock.sleep(self._backoff.next())

    def _resume_from(self) -> str:
        if self._newest is not None:
            self._version = _head(self._newest).metadata.resourceVersion
            self._newest = None
        return self._version

    async def _list(self) -> None:
        items: dict[Key, F] = {}
        version = ""
        pages = self._client.pages(self._kind, self._namespace, labels=self._labels, fields=self._fields)
        async for page in pages:
            version = page.resource_version
            with collector_off():
                for raw in page.items:
                    key, fact = self._decoded(bytes(raw))
                    if fact is not None:
                        items[key] = fact
            await asyncio.sleep(0)  # others may use the loop between two pages
        self._complete(items, version)

    def _complete(self, items: dict[Key, F], version: str) -> None:
        with collector_off():
            self._sink.replace(items)
        self._version = version
        self._recovered()
        self._progress(version)

    async def _watch(self) -> bool:
        """One watch to its end; True when it brought anything."""
        useful = False
        version = self._resume_from()
        streaming = not version
        self._initial = {} if streaming else None
        events = self._client.watch(
            self._kind, self._namespace, resource_version=version, labels=self._labels, fields=self._fields,
            initial_events=streaming, opened=partial(self._health, True),
        )  # fmt: skip
        async with aclosing(events) as stream:
            async for event in stream:
                self._take(event)
                if not useful:
                    useful = True
                    self._recovered()
        return useful

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            self._bookmark(event.object)
            return
        key, fact = self._decoded(event.object)
        if event.type == "DELETED":
            fact = None
        if self._initial is None:
            self._sink.put(key, fact)
            self._newest = event.object
        elif fact is None:
            self._initial.pop(key, None)
        else:
            self._initial[key] = fact

    def _bookmark(self, obj: bytes) -> None:
        meta = _head(obj).metadata
        if self._initial is not None:
            if (meta.annotations or {}).get(INITIAL_END) == "true":
                items, self._initial = self._initial, None
                self._complete(items, meta.resourceVersion)
            return
        self._newest = None
        self._version = meta.resourceVersion
        self._progress(meta.resourceVersion)

    def _decoded(self, obj: bytes) -> tuple[Key, F | None]:
        try:
            return self._decode(obj)
        except msgspec.DecodeError as error:
            meta = _head(obj).metadata
            logger.warning("%s %s/%s left out: %s", self._kind.kind, meta.namespace, meta.name, error)
            return (meta.namespace, meta.name), None

    def _failed(self, error: ApiError) -> None:
        """Decide from where to go on, and say what is wrong once, not at every attempt."""
        if self._initial is not None and error.status in EXPECTED_END:
            self._streaming = False
            self._initial = None
            logger.debug("the server streams no lists of %s: %s", self._kind.plural, error)
            return
        if error.gone or error.status == 400 or (error.status == 504 and "Too large" in error.message):
            self._version, self._newest = "", None
        self._health(False)
        if str(error) != self._said:
            self._said = str(error)
            logger.log(logging.INFO if error.gone else logging.WARNING, "watching %s: %s", self._kind.plural, error)
        self._initial = None

    def _recovered(self) -> None:
        self._health(True)
        self._backoff.reset()
        if self._said:
            self._said = ""
            logger.info("watching %s again", self._kind.plural)
