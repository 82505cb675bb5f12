"""What the parts of the API server share: storage, catalogue, options, clock; and who writes."""

import asyncio
from typing import Literal

import msgspec

from clew.api.kinds import CRD, NAMESPACE, Kind
from clew.api.objects import Object
from clew.base.clock import Clock
from clew.base.value import Value
from clew.cluster.apiserver.catalog import Catalog, storage_name
from clew.cluster.apiserver.errors import not_found, terminating
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.options import ApiServerOptions
from clew.cluster.storage import Record, Storage

_encode = msgspec.json.Encoder().encode


class Writer(Value):
    """Who writes, and how they want it; `operation` is how managedFields call it."""

    identity: Identity
    manager: str
    dry_run: bool = False
    force: bool = False
    operation: Literal["Apply", "Update"] = "Update"


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
        record = self.storage.collection(storage_name(kind)).items.get(object_key(kind, namespace, name))
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
        if "deletionTimestamp" in record.decode()["metadata"]:
            raise terminating(kind, name, namespace)

    async def write(self, kind: Kind, obj: Object) -> Object:
        """Store the object and return it with its new resourceVersion, once it is durable."""
        await self.storage.put(storage_name(kind), _key_of(kind, obj), lambda revision: _versioned(obj, revision))
        return obj

    async def remove(self, kind: Kind, obj: Object) -> Object:
        """Take the object out; returned with the revision of its deletion, once that is durable."""
        await self.storage.delete(storage_name(kind), _key_of(kind, obj), lambda revision: _versioned(obj, revision))
        return obj


def _versioned(obj: Object, revision: int) -> bytes:
    obj["metadata"]["resourceVersion"] = str(revision)
    return _encode(obj)


def _key_of(kind: Kind, obj: Object) -> str:
    meta = obj["metadata"]
    return object_key(kind, meta.get("namespace", ""), meta["name"])


def object_key(kind: Kind, namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if kind.namespaced else name
