"""What the parts of the API server share: storage, catalogue, options, clock; and who writes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from clew.api.kinds import CRD, NAMESPACE, Kind
from clew.api.objects import Object
from clew.base.clock import Clock
from clew.base.value import Value
from clew.cluster.apiserver.catalog import Catalog, storage_name
from clew.cluster.apiserver.errors import forbidden, not_found
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.options import ApiServerOptions
from clew.cluster.storage import Record, Storage


class Writer(Value):
    """Who writes, and how they want it."""

    identity: Identity
    manager: str
    dry_run: bool = False
    force: bool = False


class State:
    """One server's shared state."""

    def __init__(self, storage: Storage, options: ApiServerOptions, clock: Clock) -> None:
        self.storage = storage
        self.options = options
        self.clock = clock
        self.catalog = Catalog()
        self.stopping = asyncio.Event()
        for record in storage.collection(storage_name(CRD)).scan():
            self.catalog.define(record.decode())

    def latest(self, kind: Kind, namespace: str, name: str) -> Record | None:
        """The newest state, durable or on its way: what a write is decided on."""
        return self.storage.latest(storage_name(kind), object_key(kind, namespace, name))

    def stored(self, kind: Kind, namespace: str, name: str) -> Record:
        """The durable object; 404 where there is none."""
        key = object_key(kind, namespace, name)
        record = self.storage.collection(storage_name(kind)).items.get(key)
        if record is None:
            raise not_found(kind, name)
        return record

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return self.stored(kind, namespace, name).decode()

    def objects(self, kind: Kind, namespace: str = "") -> list[Object]:
        prefix = f"{namespace}/" if namespace else ""
        return [record.decode() for record in self.storage.collection(storage_name(kind)).scan(prefix)]

    def check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        """A namespaced object needs a namespace that is there and is not going."""
        record = self.latest(NAMESPACE, "", namespace)
        if record is None:
            raise not_found(NAMESPACE, namespace)
        if record.decode()["metadata"].get("deletionTimestamp"):
            raise forbidden(
                kind, name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )  # fmt: skip

    async def write(self, kind: Kind, obj: Object) -> Object:
        """Store the object and return it with its new resourceVersion, once it is durable."""
        meta = obj["metadata"]

        def encode(revision: int) -> bytes:
            meta["resourceVersion"] = str(revision)
            return msgspec.json.encode(obj)

        await self.storage.put(storage_name(kind), object_key(kind, meta.get("namespace", ""), meta["name"]), encode)
        return obj

    async def remove(self, kind: Kind, obj: Object) -> Object:
        meta = obj["metadata"]

        def encode(revision: int) -> bytes:
            meta["resourceVersion"] = str(revision)
            return msgspec.json.encode(obj)

        await self.storage.delete(storage_name(kind), object_key(kind, meta.get("namespace", ""), meta["name"]), encode)
        return obj


def object_key(kind: Kind, namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if kind.namespaced else name


Handler = Callable[..., Awaitable[Any]]
