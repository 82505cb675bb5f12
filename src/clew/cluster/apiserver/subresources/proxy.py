"""pods/proxy and services/proxy: an HTTP request handed on to a program in a pod, for `kubectl proxy` and `get --raw`.

It speaks HTTP/1.0 to the program, so that an answer ends with its connection; links in pages are not rewritten, and
connections that change their protocol are not carried. Called by the table of subresources.
"""

import random
from collections.abc import Iterator
from contextlib import suppress

from aiohttp import web

from clew.api.kinds import ENDPOINT_SLICE, POD, SERVICE, Kind
from clew.api.objects import Object, dig, labels
from clew.cluster.apiserver.errors import ApiRefusal, bad_request
from clew.cluster.apiserver.paths import beyond
from clew.cluster.apiserver.state import State
from clew.cluster.streams import Duplex, NodeStreams, PodRef, StreamError

_HEAD = 64 << 10  # bytes that the head of an answer may have
_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "authorization", "host", "content-length",
})  # fmt: skip
_PARTS = 7  # api v1 namespaces SHOP services WEB proxy
_SERVICE_NAME = "kubernetes.io/service-name"


class Proxy:
    def __init__(self, state: State, nodes: NodeStreams) -> None:
        self.state = state
        self.nodes = nodes

    async def serve(self, request: web.BaseRequest, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        """The program's own answer; 503 where nobody is there to give one."""
        raw, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        asked = beyond(raw, _PARTS) + (f"?{query}" if query else "")  # as it was sent: what is encoded stays so
        if not asked.startswith("/"):
            return web.Response(status=301, headers={"Location": f"{raw}/{asked}"})
        target, port = _name_and_port(name)
        pod, number = (
            self._of_pod(namespace, target, port) if kind == POD else self._of_service(namespace, target, port)
        )
        body = await request.read()
        try:
            pipe = await self.nodes.connect(pod, number)
        except StreamError as error:
            raise ApiRefusal(503, "ServiceUnavailable", f"error trying to reach service: {error.message}", {}) from None
        try:
            await pipe.write(_request_head(request, asked, f"{target}:{number}", len(body)) + body)
            return await _handed_back(request, pipe)
        finally:
            await pipe.close()

    def _of_pod(self, namespace: str, name: str, port: str) -> tuple[PodRef, int]:
        pod = self.state.get(POD, namespace, name)
        ports = [each for container in pod["spec"]["containers"] for each in container.get("ports") or ()]
        if not port:
            return _reference(pod), int(ports[0]["containerPort"]) if ports else 80
        if port.isdecimal():
            return _reference(pod), int(port)
        named = next((int(each["containerPort"]) for each in ports if each.get("name") == port), 0)
        if not named:
            raise bad_request(f"cannot find port {port} of pod {name}")
        return _reference(pod), named

    def _of_service(self, namespace: str, name: str, port: str) -> tuple[PodRef, int]:
        """Any of the ready pods behind the port, which is named or numbered as the service does."""
        service = self.state.get(SERVICE, namespace, name)
        ports = dig(service, "spec", "ports") or []
        if port.isdecimal():
            port = next((each.get("name") or "" for each in ports if each["port"] == int(port)), "?")
        found = list(self._ready(namespace, name, port))
        if not found:
            raise ApiRefusal(503, "ServiceUnavailable", f'no endpoints available for service "{name}"', {})
        pod, number = random.choice(found)  # noqa: S311 - a share of the load, no secret
        return _reference(self.state.get(POD, namespace, pod)), number

    def _ready(self, namespace: str, service: str, port: str) -> Iterator[tuple[str, int]]:
        for piece in self.state.objects(ENDPOINT_SLICE, namespace):
            if labels(piece).get(_SERVICE_NAME) != service:
                continue
            numbers = [each["port"] for each in piece.get("ports") or () if (each.get("name") or "") == port]
            for endpoint in piece.get("endpoints") or ():
                pod = dig(endpoint, "targetRef", "name") if dig(endpoint, "targetRef", "kind") == "Pod" else None
                if pod and numbers and dig(endpoint, "conditions", "ready") is not False:
                    yield pod, int(numbers[0])


def _name_and_port(name: str) -> tuple[str, str]:
    """`web`, `web:80`, `http:web:80`; nothing here speaks TLS to programs."""
    parts = name.split(":")
    if len(parts) == 3 and parts[0] in {"", "http"}:
        parts = parts[1:]
    if len(parts) > 2:
        raise bad_request(f'invalid request "{name}": only http is handed on')
    return parts[0], parts[1] if len(parts) == 2 else ""


def _reference(pod: Object) -> PodRef:
    meta, node = pod["metadata"], pod["spec"].get("nodeName", "")
    if not node:
        raise bad_request(f"address not allowed: pod {meta['name']} has no address yet")
    return PodRef(node, meta["namespace"], meta["name"], meta["uid"])


def _request_head(request: web.BaseRequest, asked: str, host: str, size: int) -> bytes:
    lines = [f"{request.method} {asked} HTTP/1.0", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in _HOP]
    if size:
        lines.append(f"Content-Length: {size}")
    lines += [f"X-Forwarded-Uri: {request.rel_url.raw_path}", f"X-Forwarded-For: {request.remote or ''}"]
    return "\r\n".join((*lines, "", "")).encode("latin-1", "replace")


async def _handed_back(request: web.BaseRequest, pipe: Duplex) -> web.StreamResponse:
    head = b""
    while b"\r\n\r\n" not in head:
        data = await pipe.read()
        if not data or len(head) > _HEAD:
            raise ApiRefusal(503, "ServiceUnavailable", "error trying to reach service: it did not answer in HTTP", {})
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise ApiRefusal(503, "ServiceUnavailable", "error trying to reach service: it did not answer in HTTP", {})
    answer = web.StreamResponse(status=int(words[1]), reason=words[2] if len(words) == 3 else None)
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() not in _HOP:
            answer.headers.add(name.strip(), value.strip())
    await answer.prepare(request)
    with suppress(ConnectionError):  # a client that has gone reads no more
        while rest or (rest := await pipe.read()):
            await answer.write(rest)
            rest = b""
        await answer.write_eof()
    return answer
