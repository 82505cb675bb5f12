"""PATCH in its four languages, decided on the newest state; nothing else can come in between.

The patch is applied to the object in the shape its client sees, checked like a whole object, written like an update.
"""

from typing import Any

import msgspec
import yaml

from clew.api.apply import ApplyConflict, server_side_apply
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.api.patch import PatchError, json_patch, merge_patch, strategic_merge_patch
from clew.base.value import Value
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.bodies import settle, unknown_fields
from clew.cluster.apiserver.catalog import stored_kind
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, invalid_options, not_found, unsupported_media
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer
from clew.cluster.apiserver.strategies.custom import unknown_fields as unknown_custom_fields
from clew.cluster.apiserver.strategies.pods import with_ephemeral_containers
from clew.cluster.apiserver.versions import inward, outward

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
LANGUAGES = (JSON, MERGE, STRATEGIC, APPLY)
_REASONS = {400: "BadRequest", 415: "UnsupportedMediaType", 422: "Invalid", 500: ""}


class Target(Value):
    """What is patched; `kind` as the client named it."""

    kind: Kind
    namespace: str
    name: str
    subresource: str = ""
    validation: str = "Warn"


class Patched(Value):
    """The stored object, whether apply created it, and what the client is warned of."""

    obj: Object
    created: bool
    warnings: tuple[str, ...] = ()


def read_patch(content_type: str, body: bytes) -> Any:
    """The decoded patch; 415 for a type that is none, 400 for what cannot be read."""
    try:
        if content_type == APPLY:
            return yaml.load(body, Loader=yaml.CSafeLoader)
        if content_type in LANGUAGES:
            return msgspec.json.decode(body)
    except (msgspec.DecodeError, yaml.YAMLError) as wrong:
        raise bad_request(f"error decoding patch: {wrong}") from None
    raise unsupported_media(LANGUAGES)


def apply_language(language: str, kind: Kind, current: Object, patch: Any) -> Object:
    """A JSON, merge or strategic patch on an object; ApiRefusal where it does not fit."""
    try:
        if language == JSON:
            if not isinstance(patch, list):
                raise bad_request("error decoding patch: a JSON patch is a list of operations")
            return json_patch(current, patch)
        if not isinstance(patch, dict):
            raise bad_request("error decoding patch: the patch must be an object")
        if language == MERGE:
            return merge_patch(current, patch)
        return strategic_merge_patch(kind, current, patch)
    except PatchError as wrong:
        raise refused(wrong) from None


def refused(wrong: PatchError) -> ApiRefusal:
    return ApiRefusal(wrong.status, _REASONS.get(wrong.status, "Invalid"), wrong.message)


class Patcher:
    """Called by the handlers."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.state = registry.state

    async def patch(self, target: Target, language: str, patch: Any, writer: Writer) -> Patched:
        kind = stored_kind(target.kind)
        custom = self.state.catalog.custom(kind)
        if language == STRATEGIC and custom is not None:
            raise unsupported_media((JSON, MERGE, APPLY))
        record = self.state.latest(kind, target.namespace, target.name)
        if record is None and (language != APPLY or target.subresource):
            raise not_found(kind, target.name)
        current = outward(target.kind, record.decode()) if record else None
        if language == APPLY:
            changed, warnings = self._applied(target, current, patch, writer)
        else:
            changed = apply_language(language, target.kind, clone(current), patch)
            warnings = self._checked(target, changed)
        obj = inward(target.kind, changed)
        if record is None:
            made = await self.registry.create(kind, target.namespace, obj, writer)
            return Patched(made, True, tuple(warnings))
        if target.subresource == "ephemeralcontainers":
            obj = with_ephemeral_containers(record.decode(), obj)
        made = await self.registry.update(kind, target.namespace, target.name, obj, writer, target.subresource)
        return Patched(made, False, tuple(warnings))

    def _checked(self, target: Target, obj: Object) -> list[str]:
        """Unknown fields and wrong types of the result, as for a whole object."""
        custom = self.state.catalog.custom(target.kind)
        if custom is not None:
            return settle(target.kind, unknown_custom_fields(custom, obj), target.validation)
        return settle(target.kind, unknown_fields(target.kind, obj), target.validation)

    def _applied(self, target: Target, current: Object | None, patch: Any, writer: Writer) -> tuple[Object, list[str]]:
        _check_applied(target, patch)
        patch = clone(patch)
        warnings = self._checked(target, patch)
        strategy = self.registry.strategies.of(stored_kind(target.kind))
        patch.setdefault("metadata", {}).setdefault("name", target.name)
        if target.kind.namespaced:
            patch["metadata"].setdefault("namespace", target.namespace)
        try:
            made = server_side_apply(
                target.kind, current, patch, writer.manager, self.state.clock.now(),
                force=writer.force, subresource=target.subresource, shape=strategy.shape,
            )  # fmt: skip
        except ApplyConflict as lost:
            raise ApiRefusal(409, "Conflict", str(lost), {"causes": lost.causes}) from None
        except PatchError as wrong:
            raise refused(wrong) from None
        return made, warnings


def _check_applied(target: Target, patch: Any) -> None:
    if not isinstance(patch, dict):
        raise bad_request("error decoding YAML: an applied configuration must be an object")
    for field, wanted in (("apiVersion", target.kind.api_version), ("kind", target.kind.kind)):
        if patch.get(field) != wanted:
            raise bad_request(f"incorrect object type for patch: {field} must be {wanted}, not {patch.get(field)}")
    meta = patch.get("metadata") or {}
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if meta.get("name") not in {None, "", target.name}:
        text = f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
        raise bad_request(text)


def check_options(language: str, *, manager: str, forced: bool) -> None:
    """422 for PatchOptions that do not go with the language."""
    wrong = []
    if language == APPLY and not manager:
        wrong.append(FieldError("fieldManager", "FieldValueRequired", None, "is required for apply patch"))
    if language != APPLY and forced:
        wrong.append(FieldError("force", "FieldValueForbidden", None, "may not be specified for non-apply patch"))
    if wrong:
        raise invalid_options("PatchOptions", wrong)
