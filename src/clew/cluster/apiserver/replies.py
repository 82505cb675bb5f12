"""Answers as HTTP: JSON with warnings, compressed where it is large and the client takes it."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from clew.api.objects import Object

_WORTH_COMPRESSING = 128 << 10  # bytes, as kube-apiserver's threshold


def respond(obj: Object, code: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    """A JSON answer, with a Warning header each (RFC 7234 section 5.5)."""
    return respond_bytes(msgspec.json.encode(obj), code, warnings)


def respond_bytes(body: bytes, code: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    response = web.Response(body=body, status=code, content_type="application/json")
    if len(body) > _WORTH_COMPRESSING:
        response.enable_compression()
    for warning in warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response
