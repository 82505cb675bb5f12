"""Answers as HTTP: JSON with warnings, compressed where it is large and the client takes it."""

import asyncio
import zlib
from collections.abc import Iterator, Sequence

import msgspec
from aiohttp import web

from clew.api.objects import Object

_WORTH_COMPRESSING = 128 << 10  # bytes, as kube-apiserver's threshold
_WARNINGS = 4096  # letters of all warnings of an answer, beyond which each is cut to
_WARNING = 256
_MOST_WARNINGS = 50  # Python's clients take a hundred headers at most
_QUICK = 1  # zlib's level: half the size for a third of the time of the default
_GZIP = 16 + zlib.MAX_WBITS
_encode = msgspec.json.Encoder().encode


def respond(obj: Object, code: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    """A JSON answer, with a Warning header each (RFC 7234 section 5.5)."""
    return respond_bytes(_encode(obj), code, warnings)


def respond_bytes(body: bytes, code: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    response = web.Response(body=body, status=code, content_type="application/json")
    for warning in _bounded(warnings):
        plain = "".join(letter if letter.isprintable() else " " for letter in warning)
        quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


def _bounded(warnings: Sequence[str]) -> Iterator[str]:
    """All of them, or what headers can hold: shortened, and the last left out, as kube-apiserver does it."""
    left = _WARNINGS
    shorten = sum(map(len, warnings)) > left
    for warning in warnings[:_MOST_WARNINGS]:
        told = warning[:_WARNING] if shorten else warning
        if len(told) > left:
            return
        left -= len(told)
        yield told


def success(details: Object | None = None, code: int = 0) -> Object:
    """A metav1.Status that says it worked."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    return status | ({"code": code} if code else {})


async def compressed(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """The answer gzipped, off the loop, where that is worth it and the client takes it."""
    if not isinstance(response, web.Response) or response.prepared or not isinstance(response.body, bytes):
        return response
    body = response.body
    if len(body) < _WORTH_COMPRESSING or "gzip" not in request.headers.get("Accept-Encoding", ""):
        return response
    response.body = await asyncio.get_running_loop().run_in_executor(None, _gzip, body)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(_QUICK, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()
