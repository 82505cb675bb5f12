"""PATCH in its four languages, decided on the newest state; nothing else can come in between.

The patch is applied to the object in the shape its client sees, checked like a whole object, written like an update.
"""

import re
from typing import Any

import msgspec

from clew.api import schema, yaml_text
from clew.api.apply import ApplyConflict, server_side_apply
from clew.api.kinds import Kind
from clew.api.objects import Object, clone
from clew.api.patch import PatchError, json_patch, merge_patch, strategic_merge_patch
from clew.api.schema.syntax import syntax_error
from clew.base.value import Value
from clew.cluster.admission import FieldError
from clew.cluster.admission.structural import prune_by_schema
from clew.cluster.apiserver.bodies import repeated_fields, strictly
from clew.cluster.apiserver.catalog import Custom, stored_kind
from clew.cluster.apiserver.errors import (
    ApiRefusal,
    bad_request,
    conflict,
    invalid_options,
    invalid_patch,
    not_found,
    unsupported_media,
)
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer
from clew.cluster.apiserver.strategies.pods import with_ephemeral_containers
from clew.cluster.apiserver.versions import inward, outward
from clew.cluster.storage import Record

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
LANGUAGES = (JSON, MERGE, STRATEGIC, APPLY)
_TRIES = 5  # of a patch while others write the object, as kube-apiserver has it
_REASONS = {400: "BadRequest", 413: "RequestEntityTooLarge", 415: "UnsupportedMediaType", 422: "Invalid", 500: ""}


class Target(Value):
    """What is patched; `kind` as the client named it."""

    kind: Kind
    namespace: str
    name: str
    subresource: str = ""


class Patch(Value):
    """A patch as it came: decoded, and the keys that its text gives twice. `validation` as for whole objects."""

    language: str
    value: Any
    repeated: tuple[str, ...] = ()
    validation: str = "Warn"


class Patched(Value):
    """The stored object, whether apply created it, and what the client is warned of."""

    obj: Object
    created: bool
    warnings: tuple[str, ...] = ()


def read_patch(content_type: str, body: bytes, validation: str = "Warn") -> Patch:
    """The decoded patch; 415 for a type that is none, 400 for what cannot be read."""
    if content_type not in LANGUAGES:
        raise unsupported_media(LANGUAGES)
    try:
        value = yaml_text.load(body) if content_type == APPLY else msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise bad_request(f"error decoding patch: {syntax_error(body)}") from None
    except (ValueError, RecursionError) as wrong:
        raise bad_request(f"error decoding YAML: {wrong}") from None
    repeated = repeated_fields("yaml" if content_type == APPLY else "", body) if validation != "Ignore" else ()
    return Patch(content_type, value, tuple(repeated), validation)


def apply_patch(patch: Patch, kind: Kind, current: Object) -> Object:
    """A JSON, merge or strategic patch on an object; ApiRefusal where it does not fit."""
    try:
        if patch.language == JSON:
            if not isinstance(patch.value, list):
                raise bad_request("error decoding patch: a JSON patch is a list of operations")
            return json_patch(current, patch.value)
        if not isinstance(patch.value, dict):
            raise bad_request("error decoding patch: the patch must be an object")
        if patch.language == MERGE:
            return merge_patch(current, patch.value)
        return strategic_merge_patch(kind, current, patch.value)
    except PatchError as wrong:
        raise refused(wrong) from None


def refused(wrong: PatchError) -> ApiRefusal:
    return ApiRefusal(wrong.status, _REASONS.get(wrong.status, "Invalid"), wrong.message)


def check_result(patch: Patch, kind: Kind, custom: Custom | None, obj: Object) -> list[str]:
    """What the client is warned of: unknown fields of a patched object, dropped from it.

    422 for values of a wrong type, and for the unknown where strictness is asked for.
    """
    problems = schema.decode_problems(kind, obj)
    shown = _go_text(patch.value) if patch.language == STRATEGIC else msgspec.json.encode(obj).decode()
    for problem in problems:
        if problem.fatal:
            told = _unconverted(problem.message) if patch.language == STRATEGIC else problem.message
            raise invalid_patch(shown, told)
    if problems:
        schema.drop_unknown(kind, obj)
    found = [*patch.repeated, *(problem.message for problem in problems)]
    if custom is not None:
        found += [f'unknown field "{path}"' for path in prune_by_schema(custom.schema, obj)]
    if found and patch.validation == "Strict":
        raise invalid_patch(shown, strictly(found))
    return found if patch.validation == "Warn" else []


class Patcher:
    """Called by the handlers."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.state = registry.state

    async def patch(self, target: Target, patch: Patch, writer: Writer) -> Patched:
        kind = stored_kind(target.kind)
        if patch.language == STRATEGIC and self.state.catalog.custom(kind) is not None:
            raise unsupported_media((JSON, MERGE, APPLY))
        applies = patch.language == APPLY
        for _ in range(_TRIES):
            record = self.state.latest(kind, target.namespace, target.name)
            if record is None and (not applies or target.subresource):
                raise not_found(kind, target.name)
            obj, warnings = self._patched(target, patch, writer, record)
            await self.registry.strategies.of(kind).think(obj)
            if self.state.latest(kind, target.namespace, target.name) is record:  # nobody wrote meanwhile
                break
        if applies:
            writer = msgspec.structs.replace(writer, operation="Apply")
        if record is None:
            self.registry.access.check_create(kind, target.namespace, target.name, writer.identity)
            made = await self.registry.create(kind, target.namespace, obj, writer)
        else:
            made = await self.registry.update(kind, target.namespace, target.name, obj, writer, target.subresource)
        return Patched(made, record is None, tuple(warnings))

    def _patched(self, target: Target, patch: Patch, writer: Writer, record: Record | None) -> tuple[Object, list[str]]:
        """The object as the patch makes it, and what the client is warned of."""
        current = outward(self.state.catalog, target.kind, record.decode()) if record else None
        if current is not None and patch.language != APPLY:
            changed = apply_patch(patch, target.kind, clone(current))
        else:
            changed = self._applied(target, current, patch, writer)
        warnings = check_result(patch, target.kind, self.state.catalog.custom(target.kind), changed)
        obj = inward(target.kind, changed)
        if record is not None and target.subresource == "ephemeralcontainers":
            obj = with_ephemeral_containers(record.decode(), obj)
        return obj, warnings

    def _applied(self, target: Target, current: Object | None, patch: Patch, writer: Writer) -> Object:
        """The object with an applied configuration in it; a field that its kind does not have is always refused."""
        _check_applied(target, patch.value)
        if patch.repeated and patch.validation == "Strict":
            raise bad_request(f"error strict decoding YAML: {', '.join(patch.repeated)}")
        applied: Object = clone(patch.value)
        strategy = self.registry.strategies.of(stored_kind(target.kind))
        meta = applied["metadata"] = applied.get("metadata") or {}
        meta.setdefault("name", target.name)
        if target.kind.namespaced:
            meta.setdefault("namespace", target.namespace)
        try:
            made = server_side_apply(
                target.kind, current, applied, writer.manager, self.state.clock.now(),
                force=writer.force, subresource=target.subresource, shape=strategy.shape,
            )  # fmt: skip
        except ApplyConflict as lost:
            raise ApiRefusal(409, "Conflict", str(lost), {"causes": lost.causes}) from None
        except PatchError as wrong:
            raise refused(wrong) from None
        for field in ("resourceVersion", "uid"):  # what the client insists on is checked like any update's
            if meta.get(field):
                made["metadata"][field] = meta[field]
        if current is None and meta.get("uid"):
            text = f"uid mismatch: the provided object specified uid {meta['uid']}, and no existing object was found"
            raise conflict(target.kind, target.name, text)
        return made


def _check_applied(target: Target, patch: Any) -> None:
    if not isinstance(patch, dict):
        raise bad_request("error decoding YAML: an applied configuration must be an object")
    for field, wanted in (("apiVersion", target.kind.api_version), ("kind", target.kind.kind)):
        if patch.get(field) != wanted:
            raise bad_request(f"incorrect object type for patch: {field} must be {wanted}, not {patch.get(field)}")
    meta = patch.get("metadata") or {}
    if not isinstance(meta, dict):
        raise bad_request("error decoding YAML: metadata must be an object")
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if meta.get("name") not in {None, "", target.name}:
        text = f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
        raise bad_request(text)
    if target.kind.namespaced and meta.get("namespace") not in {None, "", target.namespace}:
        text = f"the namespace of the object ({meta['namespace']}) does not match the namespace on the request"
        raise bad_request(f"{text} ({target.namespace})")


def check_options(language: str, *, manager: str, forced: bool) -> None:
    """422 for PatchOptions that do not go with the language."""
    wrong = []
    if language == APPLY and not manager:
        wrong.append(FieldError("fieldManager", "FieldValueRequired", None, "is required for apply patch"))
    if language != APPLY and forced:
        wrong.append(FieldError("force", "FieldValueForbidden", None, "may not be specified for non-apply patch"))
    if wrong:
        raise invalid_options("PatchOptions", wrong)


_WRONG_TYPE = re.compile(r"json: cannot unmarshal (\w+)(?: \S+)? into Go \S+(?: field \S+)? of type (\S+)")
_PLAIN = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "float64": "float64"}
_GO_KINDS = {"number": "int64", "array": "slice", "object": "map"}


def _unconverted(message: str) -> str:
    """A wrong type as the converter of strategic patches says it, which works on values and not on text."""
    match = _WRONG_TYPE.match(message)
    if match is None:
        return message
    given, wanted = _GO_KINDS.get(match[1], match[1]), match[2]
    if wanted in _PLAIN:
        return f"unrecognized type: {wanted}"
    if wanted.startswith(("[]", "map[")):
        return f"cannot restore {'slice' if wanted[0] == '[' else 'map'} from {given}"
    return f"cannot restore struct from: {given}"


def _go_text(value: Any) -> str:
    """Decoded JSON as Go's `%+v` prints it: `map[spec:map[replicas:x]]`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"map[{' '.join(f'{key}:{_go_text(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(_go_text, value))}]"
    return str(value)
