"""What every controller is given: the client, the caches, the clock, a way to tell the user; and how it is driven.

A controller reads only caches, writes only through the client, and decides in pure functions beside it. Nothing here
knows a kind's meaning; run.py makes one of these and hands it to all.
"""

import asyncio
from typing import Any, Protocol

from clew.api.kinds import Kind
from clew.api.objects import Object, labels, metadata, namespace_of, owner_of
from clew.base.clock import Clock, SystemClock
from clew.base.value import Value
from clew.watch.client import Client
from clew.watch.events import EventRecorder
from clew.watch.informer import Informer
from clew.watch.queue import WorkQueue

BY_NAMESPACE = "namespace"
BY_OWNER = "owner"
BY_LABEL = "label"
ORPHANS = ""  # under BY_OWNER: what nobody controls
MOST_EVENTS = 2000  # waiting to be told; beyond it they are dropped, as client-go does


class ControllerOptions(Value):
    """What the cluster's operator decides. Times are seconds, as kube-controller-manager's flags and their defaults."""

    pod_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    node_mask_v4: int = 24
    node_mask_v6: int = 64
    ca_pem: str = ""
    node_monitor_grace: float = 40.0
    terminated_pods: int = 12500


def asked(obj: Object) -> tuple[object, ...]:
    """What of an object its owner or a user changes; its own status is not part of it."""
    meta = metadata(obj)
    return (
        meta.get("generation"), meta.get("deletionTimestamp"), meta.get("labels"), meta.get("annotations"),
        meta.get("ownerReferences"), meta.get("finalizers"),
    )  # fmt: skip


class Teller:
    """Tells of things in the name of one component, as `kubectl describe` shows it under From."""

    def __init__(self, recorder: EventRecorder, waiting: "asyncio.Queue[Notice]") -> None:
        self._recorder = recorder
        self._waiting = waiting

    def tell(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """An Event, written soon; dropped when far too many wait."""
        if not self._waiting.full():
            self._waiting.put_nowait((self._recorder, obj, type_, reason, message))


Notice = tuple[EventRecorder, Object, str, str, str]


class Informers:
    """One cache a kind, made on demand before `run` and shared by all controllers."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[Kind, str], Informer] = {}

    def of(self, kind: Kind, fields: str = "") -> Informer:
        """Indexed by namespace, by the controlling owner's uid and by `namespace/label=value`.

        With a field selector it is a cache apart, of what the selector leaves.
        """
        if (kind, fields) not in self._known:
            indexes = {BY_NAMESPACE: by_namespace, BY_OWNER: by_owner, BY_LABEL: by_label}
            informer = Informer(self._client, kind, fields=fields, indexes=indexes, clock=self._clock)
            self._known[kind, fields] = informer
        return self._known[kind, fields]

    def whole(self) -> dict[Kind, Informer]:
        """The caches that hold all of a kind, so far."""
        return {kind: informer for (kind, fields), informer in self._known.items() if not fields}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for (kind, _), informer in self._known.items():
                tasks.create_task(informer.run(), name=f"watch {kind.plural}")

    async def wait_synced(self) -> None:
        for informer in self._known.values():
            await informer.wait_synced()


def by_namespace(obj: Object) -> tuple[str, ...]:
    return (namespace_of(obj),)


def by_owner(obj: Object) -> tuple[str, ...]:
    owner = owner_of(obj)
    return (owner["uid"],) if owner else (ORPHANS,)


def by_label(obj: Object) -> list[str]:
    namespace = namespace_of(obj)
    return [f"{namespace}/{name}={value}" for name, value in labels(obj).items()]


class Context:
    """One for all controllers of a process; `run` keeps the caches and writes the Events."""

    def __init__(self, client: Client, options: ControllerOptions, clock: Clock | None = None) -> None:
        self.client = client
        self.options = options
        self.clock = clock or SystemClock()
        self.informers = Informers(client, self.clock)
        self._notices: asyncio.Queue[Notice] = asyncio.Queue(MOST_EVENTS)

    def teller(self, component: str) -> Teller:
        return Teller(EventRecorder(self.client, component, clock=self.clock), self._notices)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.informers.run())
            tasks.create_task(self._write_notices())

    async def _write_notices(self) -> None:
        """Reconciling goes on while Events are written, one after the other."""
        while True:
            recorder, obj, type_, reason, message = await self._notices.get()
            await recorder.record(obj, type_, reason, message)


class Controller(Protocol):
    """A queue of keys, and what to do with one."""

    @property
    def queue(self) -> WorkQueue[Any]: ...

    @property
    def workers(self) -> int: ...

    async def reconcile(self, key: Any) -> float | None:
        """Make one key right; the seconds after which to look again, or None. Raises ApiError to be tried again."""
        ...
