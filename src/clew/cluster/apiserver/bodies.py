"""Request bodies: JSON, YAML or protobuf, decoded and held against the kind's schema as the client asks."""

from typing import Any

import msgspec
import yaml
from aiohttp import web

from clew.api import protobuf, schema
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import bad_request, invalid_options, unsupported_media

PROTOBUF = "application/vnd.kubernetes.protobuf"
_JSON = ("application/json", "application/yaml", PROTOBUF)
_HOW = ("Ignore", "Strict", "Warn")


def decode(content_type: str, body: bytes) -> Any:
    """400 for what cannot be read, 415 for what is no language of ours."""
    try:
        if content_type == PROTOBUF:
            return protobuf.decode(body)
        if "yaml" in content_type:
            return yaml.load(body, Loader=yaml.CSafeLoader)
        if content_type in {"application/json", "application/octet-stream", "text/plain"}:
            return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, yaml.YAMLError) as wrong:
        raise bad_request(f"the object provided is unrecognized (must be of type runtime.Object): {wrong}") from None
    raise unsupported_media(_JSON)


async def read_options(request: web.BaseRequest) -> Object:
    """A body that is no stored object: DeleteOptions, a review, a binding; {} for none."""
    body = await request.read()
    if not body:
        return {}
    obj = decode(request.content_type, body)
    if not isinstance(obj, dict):
        raise bad_request("the request's body must be an object")
    return obj


async def read_object(request: web.BaseRequest, kind: Kind, *, custom: bool = False) -> tuple[Object, list[str]]:
    """An object of the kind and the warnings for the client; 400 for what does not decode, strictly where asked for.

    A custom kind's fields are checked against its own schema later.
    """
    body = await request.read()
    if not body:
        raise bad_request("the request's body is empty; an object is needed")
    obj = decode(request.content_type, body)
    if not isinstance(obj, dict):
        raise bad_request("the request's body must be an object")
    _check_kind(kind, obj)
    how = validation_of(request)
    twice = [] if how == "Ignore" or request.content_type == PROTOBUF else _duplicates(request.content_type, body)
    if custom:
        return obj, settle(kind, twice, how)
    return obj, settle(kind, [*unknown_fields(kind, obj), *twice], how)


def _duplicates(content_type: str, body: bytes) -> list[str]:
    return [problem.message for problem in schema.duplicate_fields(body, is_yaml="yaml" in content_type)]


def _check_kind(kind: Kind, obj: Object) -> None:
    version, name = obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.kind
    if name != kind.kind or (version != kind.api_version and not isinstance(version, str)):
        raise bad_request(
            f"{name} in version {version!r} cannot be handled as a {kind.kind}: no kind {name!r} is registered for"
            f" version {kind.api_version!r} here".replace("'", '"')
        )
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )


def validation_of(request: web.BaseRequest) -> str:
    """The fieldValidation parameter; 422 for a word that is none."""
    how = request.query.get("fieldValidation") or "Warn"
    if how not in _HOW:
        words = ", ".join(f'"{each}"' for each in _HOW)
        wrong = FieldError("fieldValidation", "FieldValueNotSupported", how, f"supported values: {words}")
        raise invalid_options("CreateOptions" if request.method == "POST" else "UpdateOptions", [wrong])
    return how


def unknown_fields(kind: Kind, obj: Object) -> list[str]:
    """What the kind's schema does not know, dropped from the object and told; 400 for values of a wrong type."""
    problems = schema.decode_problems(kind, obj)
    if not problems:
        return []
    for problem in problems:
        if problem.fatal:
            raise _unreadable(kind, problem.message)
    schema.drop_unknown(kind, obj)
    return [problem.message for problem in problems]


def settle(kind: Kind, problems: list[str], how: str) -> list[str]:
    """Unknown and repeated fields: refused (Strict), warned of (Warn) or passed over (Ignore)."""
    if problems and how == "Strict":
        raise _unreadable(kind, f"strict decoding error: {', '.join(problems)}")
    return problems if how == "Warn" else []


def _unreadable(kind: Kind, why: str) -> Exception:
    return bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
