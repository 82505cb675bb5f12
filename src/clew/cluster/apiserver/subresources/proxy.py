"""pods/proxy and services/proxy: an HTTP request handed on to a program in a pod, for `kubectl proxy` and `get --raw`.

It speaks HTTP/1.0 to the program, so that an answer ends with its connection, over TLS where the name begins with
`https:`. Addresses in HTML lead back (proxy_links); connections that change their protocol are not carried. Called by
the table of subresources.
"""

import random
import ssl
from collections.abc import Iterator
from contextlib import suppress

from aiohttp import web

from clew.api.kinds import ENDPOINT_SLICE, POD, SERVICE, Kind
from clew.api.objects import Object, dig, labels
from clew.cluster.apiserver.errors import ApiRefusal, bad_request
from clew.cluster.apiserver.paths import beyond
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.subresources.proxy_links import led_back, page_led_back
from clew.cluster.apiserver.subresources.tls_pipe import TlsPipe
from clew.cluster.streams import Duplex, NodeStreams, PodRef, StreamError

_HEAD = 64 << 10  # bytes that the head of an answer may have
_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "authorization", "host", "content-length", "accept-encoding",
})  # fmt: skip
_LONGEST_PAGE = 4 << 20  # bytes of HTML in which links are looked for
_UNREACHED = "error trying to reach service: "
_PARTS = 7  # api v1 namespaces SHOP services WEB proxy
_SERVICE_NAME = "kubernetes.io/service-name"


class Proxy:
    def __init__(self, state: State, nodes: NodeStreams) -> None:
        self.state = state
        self.nodes = nodes

    async def serve(self, request: web.BaseRequest, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        """The program's own answer; 503 where nobody is there to give one."""
        raw, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        path = beyond(raw, _PARTS)  # as it was sent: what is encoded stays so
        asked = (path or "/") + (f"?{query}" if query else "")
        if not path and request.method in {"GET", "HEAD"}:  # relative links would miss the last part of it
            return web.Response(status=301, headers={"Location": f"{raw}{asked}"})
        scheme, target, port = _scheme_name_and_port(name)
        place, number = (
            self._of_pod(namespace, scheme, target, port) if kind == POD else self._of_service(namespace, target, port)
        )
        body = await request.read()
        try:
            ways = self.nodes
            pipe = await (ways.reach(place, number) if isinstance(place, str) else ways.connect(place, number))
        except StreamError as error:
            raise ApiRefusal(503, "ServiceUnavailable", f"{_UNREACHED}{error.message}", {}) from None
        talk: Duplex = TlsPipe(pipe) if scheme == "https" else pipe
        host = f"{target}:{number}"
        try:
            await talk.write(_request_head(request, asked, host, len(body)) + body)
            hosts = frozenset({host, request.headers.get("Host", host)})
            return await _handed_back(request, talk, raw.removesuffix(path), hosts)
        except ssl.SSLError as error:
            raise ApiRefusal(503, "ServiceUnavailable", f"{_UNREACHED}tls: {error.reason or error}", {}) from None
        finally:
            await talk.close()

    def _of_pod(self, namespace: str, scheme: str, name: str, port: str) -> tuple[PodRef, int]:
        pod = self.state.get(POD, namespace, name)
        ports = [each for container in pod["spec"]["containers"] for each in container.get("ports") or ()]
        if not port:
            return _reference(pod), int(ports[0]["containerPort"]) if ports else 443 if scheme == "https" else 80
        if port.isdecimal():
            return _reference(pod), int(port)
        named = next((int(each["containerPort"]) for each in ports if each.get("name") == port), 0)
        if not named:
            raise bad_request(f"cannot find port {port} of pod {name}")
        return _reference(pod), named

    def _of_service(self, namespace: str, name: str, port: str) -> tuple[PodRef | str, int]:
        """Any that is ready behind the port, which is named or numbered as the service does: a pod, or an address."""
        service = self.state.get(SERVICE, namespace, name)
        ports = dig(service, "spec", "ports") or []
        if port.isdecimal():
            named = next((each.get("name") or "" for each in ports if each["port"] == int(port)), None)
            if named is None:
                raise ApiRefusal(503, "ServiceUnavailable", f'no service port {port} found for service "{name}"', {})
            port = named
        found = list(self._ready(namespace, name, port))
        if not found:
            raise ApiRefusal(503, "ServiceUnavailable", f'no endpoints available for service "{name}"', {})
        endpoint, number = random.choice(found)  # noqa: S311 - a share of the load, no secret
        if dig(endpoint, "targetRef", "kind") != "Pod":
            return str(endpoint["addresses"][0]), number
        return _reference(self.state.get(POD, namespace, str(dig(endpoint, "targetRef", "name")))), number

    def _ready(self, namespace: str, service: str, port: str) -> Iterator[tuple[Object, int]]:
        for piece in self.state.objects(ENDPOINT_SLICE, namespace):
            if labels(piece).get(_SERVICE_NAME) != service:
                continue
            named = [each for each in piece.get("ports") or () if (each.get("name") or "") == port and each.get("port")]
            for endpoint in piece.get("endpoints") or ():
                if named and piece["addressType"] != "FQDN" and dig(endpoint, "conditions", "ready") is not False:
                    yield endpoint, int(named[0]["port"])


def _scheme_name_and_port(name: str) -> tuple[str, str, str]:
    """`web`, `web:80`, `https:web:443`, `:web:`."""
    parts = name.split(":")
    scheme, target, port = parts if len(parts) == 3 else ("", *(*parts, "")[:2])
    if len(parts) > 3 or scheme not in {"", "http", "https"} or not target:
        raise bad_request(f'invalid request "{name}"')
    return scheme, target, port


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


async def _handed_back(
    request: web.BaseRequest, pipe: Duplex, prefix: str, hosts: frozenset[str]
) -> web.StreamResponse:
    answer, rest = await _answer_head(pipe)
    headers = answer.headers
    if "Location" in headers:
        headers["Location"] = led_back(headers["Location"], prefix, hosts)
    is_page = headers.get("Content-Type", "").lower().startswith("text/html")
    if is_page and headers.get("Content-Encoding", "identity") == "identity":
        page = rest
        while len(page) < _LONGEST_PAGE and (more := await pipe.read()):
            page += more
        if len(page) < _LONGEST_PAGE:
            page = page_led_back(page.decode("latin-1"), prefix, hosts).encode("latin-1", "xmlcharrefreplace")
        rest = page
    await answer.prepare(request)
    with suppress(ConnectionError):  # a client that has gone reads no more
        while rest or (rest := await pipe.read()):
            await answer.write(rest)
            rest = b""
        await answer.write_eof()
    return answer


async def _answer_head(pipe: Duplex) -> tuple[web.StreamResponse, bytes]:
    """Status, reason and the headers that are not of the connection alone; and what has come of the body."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = await pipe.read()
        if not data or len(head) > _HEAD:
            raise ApiRefusal(503, "ServiceUnavailable", f"{_UNREACHED}it did not answer in HTTP", {})
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise ApiRefusal(503, "ServiceUnavailable", f"{_UNREACHED}it did not answer in HTTP", {})
    answer = web.StreamResponse(status=int(words[1]), reason=words[2] if len(words) == 3 else None)
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() not in _HOP:
            answer.headers.add(name.strip(), value.strip())
    return answer, rest
