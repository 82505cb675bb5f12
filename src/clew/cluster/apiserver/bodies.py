"""Request bodies: JSON, YAML or protobuf, decoded and held against the kind's schema as the client asks."""

from typing import Any

import msgspec
from aiohttp import web

from clew.api import protobuf, schema, yaml_text
from clew.api.kinds import KINDS, Kind
from clew.api.objects import Object
from clew.api.schema.syntax import syntax_error
from clew.cluster.admission import FieldError
from clew.cluster.admission.structural import prune_by_schema
from clew.cluster.apiserver.catalog import Custom
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, invalid_options, unsupported_media
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.list_options import flag
from clew.cluster.apiserver.state import Writer

PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML = "application/yaml"
_ACCEPTED = ("application/json", YAML, PROTOBUF)
_AS_JSON = frozenset({"application/json", "application/octet-stream", "text/plain"})
_HOW = ("Ignore", "Strict", "Warn")
_OPTIONS = {"POST": "CreateOptions", "PATCH": "PatchOptions", "PUT": "UpdateOptions", "DELETE": "DeleteOptions"}
_LONGEST_MANAGER = 128  # bytes
_SHOWN = 30  # bytes of a body that could not be read
_DELETE = Kind("", "v1", "DeleteOptions", "deleteoptions", False)


def writer_of(request: web.BaseRequest, who: Identity) -> Writer:
    """Who writes and how, from the query; 422 for a dry run that is none."""
    query = request.query
    for value in query.getall("dryRun", ()):
        if value not in {"", "All"}:
            wrong = FieldError("dryRun", "FieldValueNotSupported", value, 'supported values: "All"')
            raise invalid_options(_OPTIONS.get(request.method, "DeleteOptions"), [wrong])
    manager = query.get("fieldManager", "")
    _check_manager(request.method, manager)
    return Writer(
        who,
        manager or _agent(request.headers.get("User-Agent", "unknown")),
        query.get("dryRun") == "All",
        flag(query, "force"),
    )


def _check_manager(method: str, manager: str) -> None:
    wrong: FieldError | None = None
    if len(manager.encode()) > _LONGEST_MANAGER:
        wrong = FieldError("fieldManager", "FieldValueTooLong", None, f"may not be more than {_LONGEST_MANAGER} bytes")
    elif not manager.isprintable():
        wrong = FieldError("fieldManager", "FieldValueInvalid", manager, "should only contain printable characters")
    if wrong:
        raise invalid_options(_OPTIONS.get(method, "DeleteOptions"), [wrong])


def _agent(user_agent: str) -> str:
    """The program's name in a User-Agent, for writers who give none."""
    return "".join(letter for letter in user_agent.partition("/")[0] if letter.isprintable())[:_LONGEST_MANAGER]


def validation_of(request: web.BaseRequest) -> str:
    """The fieldValidation parameter; 422 for a word that is none."""
    how = request.query.get("fieldValidation") or "Warn"
    if how not in _HOW:
        words = ", ".join(f'"{each}"' for each in _HOW)
        wrong = FieldError("fieldValidation", "FieldValueNotSupported", how, f"supported values: {words}")
        raise invalid_options(_OPTIONS.get(request.method, "UpdateOptions"), [wrong])
    return how


def decode(content_type: str, body: bytes, kind: str) -> Any:
    """400 for what cannot be read as one of `kind`, 415 for what is no language of ours."""
    try:
        if content_type == PROTOBUF:
            return protobuf.decode(body)
        if "yaml" in content_type:
            return yaml_text.load(body)
        if content_type in _AS_JSON:
            return msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise _unrecognized(kind, f"couldn't get version/kind; json parse error: {syntax_error(body)}", body) from None
    except (ValueError, RecursionError) as wrong:
        raise _unrecognized(kind, str(wrong), body) from None
    raise unsupported_media(_ACCEPTED)


def _unrecognized(kind: str, why: str, body: bytes) -> ApiRefusal:
    shown = "<empty>"
    if body:
        tail = " ..." if len(body) > _SHOWN else ""
        shown = (body[:_SHOWN].decode(errors="replace") if body[:1] == b"{" else body[:_SHOWN].hex()) + tail
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({shown})")


async def read_object(request: web.BaseRequest, kind: Kind, custom: Custom | None = None) -> tuple[Object, list[str]]:
    """An object of the kind and the warnings for the client; 400 for what does not decode, strictly where asked for."""
    body = await request.read()
    how = validation_of(request)
    obj = decode(request.content_type, body, kind.kind)
    if not isinstance(obj, dict):
        text = f"couldn't get version/kind; json parse error: json: cannot unmarshal {_go_name(obj)} into Go value of"
        raise _unrecognized(kind.kind, f"{text} type struct {{ APIVersion string; Kind string }}", body)
    _check_kind(kind, obj)
    problems = field_problems(kind, custom, obj)
    if how != "Ignore" and request.content_type != PROTOBUF:
        problems += repeated_fields(request.content_type, body)
    return obj, settle(kind, problems, how)


async def read_options(request: web.BaseRequest) -> Object:
    """DeleteOptions, of any group; {} for none."""
    body = await request.read()
    if not body:
        return {}
    obj = decode(request.content_type, body, _DELETE.kind)
    if not isinstance(obj, dict):
        raise bad_request("the request's body must be an object")
    for problem in schema.decode_problems(_DELETE, obj):
        if problem.fatal:
            raise unreadable(_DELETE, problem.message)
    return obj


def repeated_fields(content_type: str, body: bytes) -> list[str]:
    return [problem.message for problem in schema.duplicate_fields(body, is_yaml="yaml" in content_type)]


def _go_name(value: Any) -> str:
    return {str: "string", bool: "bool", list: "array"}.get(type(value), "number")


def _check_kind(kind: Kind, obj: Object) -> None:
    """Another kind, or a version that is none, is refused as Go's scheme refuses it."""
    version, name = obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.kind
    if (version, name) == (kind.api_version, kind.kind):
        return
    short = str(version).rpartition("/")[2]
    if any((str(version), name) == (each.api_version, each.kind) for each in KINDS):
        internal = f"{kind.group.partition('.')[0] or 'core'}.{kind.kind}"
        why = f"converting ({short}.{name}) to ({internal}): unknown conversion"
    else:
        why = f'no kind "{name}" is registered for version "{version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    raise bad_request(f'{name} in version "{short}" cannot be handled as a {kind.kind}: {why}')


def field_problems(kind: Kind, custom: Custom | None, obj: Object) -> list[str]:
    """What the kind's schema does not know, dropped from the object and told; 400 for values of a wrong type."""
    problems = schema.decode_problems(kind, obj)
    for problem in problems:
        if problem.fatal:
            raise unreadable(kind, problem.message)
    if problems:
        schema.drop_unknown(kind, obj)
    found = [problem.message for problem in problems]
    if custom is not None:
        found += [f'unknown field "{path}"' for path in prune_by_schema(custom.schema, obj)]
    return found


def settle(kind: Kind, problems: list[str], how: str) -> list[str]:
    """Unknown and repeated fields: refused (Strict), warned of (Warn) or passed over (Ignore)."""
    if problems and how == "Strict":
        raise unreadable(kind, strictly(problems))
    return problems if how == "Warn" else []


def strictly(problems: list[str]) -> str:
    return f"strict decoding error: {', '.join(problems)}"


def unreadable(kind: Kind, why: str) -> ApiRefusal:
    return bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
