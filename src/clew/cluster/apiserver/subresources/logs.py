"""log: a container's output as chunked text, followed for as long as the client stays."""

from contextlib import suppress

from aiohttp import web

from clew.cluster.admission import FieldError
from clew.cluster.apiserver.errors import ApiRefusal, bad_request
from clew.cluster.apiserver.list_options import flag
from clew.cluster.streams import LogRequest, NodeStreams, PodRef


def wanted(request: web.BaseRequest) -> LogRequest:
    """PodLogOptions from the query; 400 for what is no number, 422 for one out of its range."""
    query = request.query

    def number(name: str, least: int) -> int | None:
        text = query.get(name, "")
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if value < least:
            why = f"must be greater than or equal to {least}" if not least else "must be greater than 0"
            raise _refused(FieldError(name, "FieldValueInvalid", value, why))
        return value

    if query.get("sinceSeconds") and query.get("sinceTime"):
        why = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise _refused(FieldError("sinceSeconds", "FieldValueForbidden", None, why))
    return LogRequest(
        follow=flag(query, "follow"),
        previous=flag(query, "previous"),
        timestamps=flag(query, "timestamps"),
        tail_lines=number("tailLines", 0),
        limit_bytes=number("limitBytes", 1),
        since_seconds=number("sinceSeconds", 1),
        since_time=query.get("sinceTime", ""),
    )


def _refused(error: FieldError) -> ApiRefusal:
    return ApiRefusal(422, "Invalid", f'PodLogOptions "" is invalid: {error}', {"kind": "PodLogOptions"})


async def send(request: web.BaseRequest, nodes: NodeStreams, pod: PodRef, how: LogRequest) -> web.StreamResponse:
    """What the node gives, as it comes; a missing log is refused before the first byte."""
    pieces = await nodes.logs(pod, how)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        with suppress(ConnectionError):  # the reader has gone
            async for data in pieces:
                await response.write(data)
            await response.write_eof()
    finally:
        end = getattr(pieces, "aclose", None)
        if end is not None:
            await end()
    return response
