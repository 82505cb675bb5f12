"""PATCH in its four languages, on the newest state, tried again when another writer was quicker."""

from typing import Any

import msgspec
import yaml

from clew.api.apply import ApplyConflict, server_side_apply
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.api.patch import PatchError, json_patch, merge_patch, strategic_merge_patch
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, not_found
from clew.cluster.apiserver.registry import Registry, write_event
from clew.cluster.apiserver.state import Writer

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
_TRIES = 5


class Target(msgspec.Struct):
    kind: Kind
    namespace: str
    name: str
    subresource: str = ""


def read_patch(content_type: str, body: bytes) -> Any:
    """The decoded patch; 415 for a type that is none, 400 for what cannot be read."""
    try:
        if content_type == APPLY:
            return yaml.safe_load(body)
        if content_type in {MERGE, STRATEGIC, JSON}:
            return msgspec.json.decode(body)
    except (msgspec.DecodeError, yaml.YAMLError) as wrong:
        raise bad_request(f"error decoding patch: {wrong}") from None
    known = f"{JSON}, {MERGE}, {STRATEGIC}, {APPLY}"
    message = f"the body of the request was in an unknown format - accepted media types include: {known}"
    raise ApiRefusal(415, "UnsupportedMediaType", message)


class Patcher:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.state = registry.state

    async def patch(self, target: Target, content_type: str, patch: Any, writer: Writer) -> tuple[Object, bool]:
        """Returns the object and whether it was created (by apply)."""
        tries = 0
        while True:
            tries += 1
            try:
                return await self._once(target, content_type, patch, writer)
            except ApiRefusal as refusal:
                mine = content_type != APPLY and _names_version(patch)
                if refusal.reason != "Conflict" or mine or tries >= _TRIES:
                    raise
                if refusal.details and refusal.details.get("causes"):
                    raise

    async def _once(self, target: Target, content_type: str, patch: Any, writer: Writer) -> tuple[Object, bool]:
        kind, namespace, name = target.kind, target.namespace, target.name
        record = self.state.latest(kind, namespace, name)
        current = record.decode() if record else None
        if current is None and content_type != APPLY:
            raise not_found(kind, name)
        try:
            changed = self._apply(target, current, content_type, patch, writer)
        except PatchError as wrong:
            raise ApiRefusal(wrong.status, "Invalid" if wrong.status == 422 else "BadRequest", wrong.message) from None
        except ApplyConflict as lost:
            raise ApiRefusal(409, "Conflict", str(lost), {"causes": lost.causes}) from None
        if current is None:
            if target.subresource:
                raise not_found(kind, name)
            return await self.registry.create(kind, namespace, changed, writer), True
        updated = await self.registry.update(kind, namespace, name, changed, writer, target.subresource)
        return updated, False

    def _apply(self, target: Target, current: Object | None, content_type: str, patch: Any, writer: Writer) -> Object:
        if content_type == APPLY:
            self._check_applied(target, patch)
            before = clone(current) if current is not None else None
            return server_side_apply(
                target.kind, before, patch, writer.manager, self.state.clock.now(), force=writer.force
            )
        current = clone(current) if current is not None else {}
        if content_type == JSON:
            if not isinstance(patch, list):
                raise bad_request("a JSON patch is a list of operations")
            return write_event(target.kind, json_patch(current, patch))
        if not isinstance(patch, dict):
            raise bad_request("the patch must be an object")
        patch = write_event(target.kind, patch) if "note" in patch else patch
        if content_type == MERGE:
            return merge_patch(current, patch)
        if self.state.catalog.custom(target.kind):
            message = "the body of the request was in an unknown format - accepted media types include: "
            raise ApiRefusal(415, "UnsupportedMediaType", message + f"{JSON}, {MERGE}, {APPLY}")
        return strategic_merge_patch(target.kind, current, patch)

    def _check_applied(self, target: Target, patch: Any) -> None:
        if not isinstance(patch, dict):
            raise bad_request("an applied configuration must be an object")
        for field, wanted in (("apiVersion", target.kind.api_version), ("kind", target.kind.kind)):
            if patch.get(field) != wanted:
                raise bad_request(f"{field} of the applied object must be {wanted!r}, not {patch.get(field)!r}")
        if (patch.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")


def _names_version(patch: Any) -> bool:
    return isinstance(patch, dict) and bool((patch.get("metadata") or {}).get("resourceVersion"))
