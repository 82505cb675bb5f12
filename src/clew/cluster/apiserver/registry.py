"""Create and update for every kind: the rules of metadata, of status, of generations and of dry runs.

Called by the HTTP handlers, by patching and by subresources. Everything is decided on the newest state without
awaiting in between, so that two writers never both win. Deleting is next door.
"""

import uuid
from typing import Any

from clew.api.apply import track_update
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.base.clock import rfc3339
from clew.base.errors import WorldError
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.access import Access
from clew.cluster.apiserver.deleting import Deleter, may_go
from clew.cluster.apiserver.errors import ApiRefusal, already_exists, bad_request, conflict, invalid, not_found
from clew.cluster.apiserver.names import random_suffix
from clew.cluster.apiserver.state import State, Writer
from clew.cluster.apiserver.strategies import Claim, Strategies, Strategy

_KEPT = ("uid", "generation", "generateName", "selfLink")  # whatever the client says
_COMPLETED = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")  # may be left out
_LONGEST_PREFIX = 58  # of a generated name, so that 63 characters hold it
_NAME_TRIES = 8
_NO_VERSION = FieldError("metadata.resourceVersion", "FieldValueInvalid", 0, "must be specified for an update")
_SERVER_ONLY = ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")


class Registry:
    """All writes of objects. `kind` is always the stored one."""

    def __init__(self, state: State, strategies: Strategies, access: Access) -> None:
        self.state = state
        self.strategies = strategies
        self.access = access
        self.deleter = Deleter(state, strategies)
        self.suffix = random_suffix  # of generated names

    async def create(self, kind: Kind, namespace: str, obj: Object, writer: Writer) -> Object:
        """Store a new object; 404 without its namespace, 409 where the name is taken, 422 where it is wrong."""
        strategy = self.strategies.of(kind)
        await strategy.ready(namespace, obj)
        await strategy.think(obj)
        obj = clone(obj)
        generated = self._identify(kind, namespace, obj)
        meta = obj["metadata"]
        if kind.namespaced:
            self.state.check_namespace(kind, namespace, meta.get("name", ""))
        strategy.fill(obj)
        strategy.admit(obj)
        strategy.prepare_create(obj)
        errors = strategy.errors(obj, None, "")
        if errors:
            raise invalid(kind, meta.get("name", ""), errors)
        if self.state.latest(kind, namespace, meta["name"]) is not None:
            raise already_exists(kind, meta["name"], generated=generated)
        if strategy.has_generation(obj):
            meta["generation"] = 1
        self.access.check_grant(kind, obj, None, writer.identity)
        claim = strategy.claim(obj, None)
        obj = self._tracked(strategy, None, obj, writer, "")
        return await self._store(strategy, obj, claim, dry_run=writer.dry_run)

    def _identify(self, kind: Kind, namespace: str, obj: Object) -> bool:
        """Names, uid and birth; True where the name was made here."""
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
        given: Any = obj.get("metadata") or {}
        if not isinstance(given, dict):
            raise bad_request("metadata must be an object")
        meta: Object = given
        obj["metadata"] = meta
        if meta.pop("resourceVersion", "") not in {None, "", "0"}:
            raise ApiRefusal(500, "", "resourceVersion should not be set on objects to be created", {})
        if not kind.namespaced:
            meta.pop("namespace", None)
        elif meta.get("namespace") not in {None, "", namespace}:
            text = "the namespace of the provided object does not match the namespace sent on the request"
            raise bad_request(text)
        else:
            meta["namespace"] = namespace
        generated = bool(not meta.get("name") and meta.get("generateName"))
        if generated:
            meta["name"] = self._generated(kind, namespace, str(meta["generateName"])[:_LONGEST_PREFIX])
        for field in _SERVER_ONLY:
            meta.pop(field, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = rfc3339(self.state.clock.now())
        return generated

    def _generated(self, kind: Kind, namespace: str, prefix: str) -> str:
        name = ""
        for _ in range(_NAME_TRIES):
            name = f"{prefix}{self.suffix()}"
            if self.state.latest(kind, namespace, name) is None:
                break
        return name

    async def update(
        self, kind: Kind, namespace: str, name: str, obj: Object, writer: Writer, subresource: str = ""
    ) -> Object:
        """Replace an object, or only its status; 409 where the given resourceVersion is not the newest.

        The subresource is the door through which the object is reached, as managedFields name it.
        """
        strategy = self.strategies.of(kind)
        await strategy.think(obj)
        record = self.state.latest(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        check_name(namespace, name, obj)
        old = record.decode()
        new = self._successor(kind, strategy, old, obj)
        new = self._checked_part(strategy, new, old, subresource)
        errors = strategy.errors(new, old, subresource)
        if errors:
            raise invalid(kind, name, errors)
        self.access.check_grant(kind, new, old, writer.identity)
        if subresource != "status" and strategy.has_generation(new) and strategy.content(new) != strategy.content(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        claim = strategy.claim(new, old) if subresource != "status" else None
        new = self._tracked(strategy, old, new, writer, subresource)
        if new == old:
            if claim:
                claim.undo()
            return new
        if may_go(kind, new) and not writer.dry_run:
            gone = await self.deleter.remove(kind, new)
            if claim:
                claim.keep()
            return gone
        return await self._store(strategy, new, claim, dry_run=writer.dry_run)

    def _successor(self, kind: Kind, strategy: Strategy, old: Object, obj: Object) -> Object:
        """The client's object with the identity that it cannot change; 409 for another's version or uid."""
        new: Object = clone(obj)
        before = old["metadata"]
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        meta = new["metadata"] = new.get("metadata") or {}
        name = before["name"]
        if meta.get("uid") not in {None, "", before["uid"]}:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
            raise conflict(kind, name, why)
        given = meta.get("resourceVersion")
        if given and given != "0" and given != before["resourceVersion"]:
            raise conflict(kind, name)
        if not given and not strategy.unconditional:
            raise invalid(kind, name, [_NO_VERSION])
        for field in _KEPT:
            meta.pop(field, None)
            if field in before:
                meta[field] = before[field]
        for field in _COMPLETED:
            if field in before and (not meta.get(field) or field != "creationTimestamp"):
                meta[field] = before[field]
        for field in ("name", "namespace", "resourceVersion"):
            if field in before:
                meta[field] = before[field]
        if "managedFields" not in meta and "managedFields" in before:
            meta["managedFields"] = clone(before["managedFields"])
        return new

    def _checked_part(self, strategy: Strategy, new: Object, old: Object, subresource: str) -> Object:
        """Status apart from the rest, then into the stored form."""
        if subresource == "status":
            new = strategy.prepare_status(new, old)
            strategy.fill(new, subresource)
            return new
        strategy.fill(new, subresource)
        strategy.prepare_update(new, old)
        return new

    def _tracked(self, strategy: Strategy, old: Object | None, new: Object, writer: Writer, subresource: str) -> Object:
        """With managedFields that say what this write set."""
        now = self.state.clock.now()
        return track_update(
            strategy.kind, old, new, writer.manager, writer.operation, subresource, now, shape=strategy.shape
        )  # fmt: skip

    async def _store(self, strategy: Strategy, obj: Object, claim: Claim | None, *, dry_run: bool) -> Object:
        if dry_run:
            if claim:
                claim.undo()
            return obj
        try:
            stored = await self.state.write(strategy.kind, obj)
        except WorldError:
            if claim:
                claim.undo()
            raise
        if claim:
            claim.keep()
        strategy.stored(stored)
        return stored


def check_name(namespace: str, name: str, obj: Object) -> None:
    """400 for an object that says it is another than the one at its URL."""
    meta = obj.get("metadata") or {}
    given = meta.get("name")
    if not given:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    where = meta.get("namespace")
    if namespace and where and where != namespace:
        text = f"the namespace of the object ({where}) does not match the namespace on the request"
        raise bad_request(f"{text} ({namespace})")
