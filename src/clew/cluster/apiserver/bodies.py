"""Request bodies: JSON, YAML or protobuf, decoded and held against the kind's schema as the client asks."""

from typing import Any

import msgspec
import yaml
from aiohttp import web

from clew.api import protobuf, schema
from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.apiserver.errors import ApiRefusal, bad_request

_PROTOBUF = "application/vnd.kubernetes.protobuf"


def _decode(content_type: str, body: bytes) -> Any:
    try:
        if content_type == _PROTOBUF:
            return protobuf.decode(body)
        if "yaml" in content_type:
            return yaml.safe_load(body)
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, yaml.YAMLError) as wrong:
        raise bad_request(f"the object provided is unrecognized (must be of type runtime.Object): {wrong}") from None


async def read_object(request: web.Request, kind: Kind | None) -> tuple[Object, list[str]]:
    """The object and the warnings for the client; 400 for what does not decode, strictly where asked for.

    `kind` None: an object of any kind, such as DeleteOptions.
    """
    body = await request.read()
    if not body:
        return {}, []
    obj = _decode(request.content_type, body)
    if not isinstance(obj, dict):
        raise bad_request("the request's body must be an object")
    if kind is None:
        return obj, []
    _check_kind(kind, obj)
    return obj, check_fields(kind, obj, request.query.get("fieldValidation", "Warn"))


def _check_kind(kind: Kind, obj: Object) -> None:
    given = obj.get("kind", kind.kind)
    if given != kind.kind:
        raise bad_request(
            f"the API version in the data ({obj.get('apiVersion')}, {given}) does not match the expected"
            f" {kind.api_version}, Kind={kind.kind}"
        )
    version = obj.get("apiVersion", kind.api_version)
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )


def check_fields(kind: Kind, obj: Object, how: str) -> list[str]:
    """Unknown fields: refused (Strict), warned of (Warn) or dropped in silence (Ignore); wrong types always refused."""
    if how not in {"Strict", "Warn", "Ignore", ""}:
        raise ApiRefusal(
            422, "Invalid", f'fieldValidation: Unsupported value: "{how}": supported values: Ignore, Strict, Warn'
        )
    problems = schema.decode_problems(kind, obj)
    wrong = [problem for problem in problems if problem.fatal]
    if wrong:
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {wrong[0].message}'
        )
    unknown = [problem.message for problem in problems]
    if unknown and how == "Strict":
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"strict decoding error: {', '.join(unknown)}"
        )
    if unknown:
        schema.drop_unknown(kind, obj)
    return unknown if how in {"Warn", ""} else []
