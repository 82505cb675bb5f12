"""The Kubernetes client of every part of Clew: requests, lists by pages, watches. It knows no kind's meaning.

It works on Clew's API server as on a real one and holds no cache: reflectors and informers do. Objects are decoded
JSON; a list for a reflector and a watch hand out bytes, so that each object is decoded once, by whoever knows its
type. How requests travel is transport.py's matter.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import msgspec

from clew.api.kinds import Kind
from clew.api.objects import Object, key_of
from clew.base.value import Value
from clew.watch.backoff import between
from clew.watch.errors import ApiError, Unreachable, from_response
from clew.watch.lines import Lines
from clew.watch.transport import Transport, refusal

if TYPE_CHECKING:
    import ssl as tls

    from clew.watch.credentials import Access

__all__ = [
    "APPLY",
    "JSON",
    "MERGE",
    "STRATEGIC",
    "ApiError",
    "Client",
    "ObjectList",
    "Page",
    "Unreachable",
    "WatchEvent",
]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

PAGE = 500  # objects a page; what a page decodes to blocks the loop for a few milliseconds
WATCH_SECONDS = (300.0, 600.0)  # the server ends a watch after this; drawn, so that watches do not end together


class ObjectList(Value):
    """A consistent list and the version to watch from."""

    items: list[Object]
    resource_version: str


class Page(Value):
    """Part of a list, undecoded; every page of one list has the same version."""

    items: list[msgspec.Raw]
    resource_version: str


class WatchEvent(Value):
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object's JSON. ERROR is raised as ApiError instead."""

    type: str
    object: bytes


class _ListMeta(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815  # the API's own name
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Envelope(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode_list = msgspec.json.Decoder(_List).decode
_decode_event = msgspec.json.Decoder(_Envelope).decode


class Client:
    """`server` is `https://host:port`; `ssl` says whom to trust and who we are, `token` is asked on every request."""

    def __init__(
        self,
        server: str,
        *,
        ssl: "tls.SSLContext | None" = None,
        token: Callable[[], str] | None = None,
        user_agent: str = "clew",
    ) -> None:
        self._http = Transport(server, ssl=ssl, token=token, user_agent=user_agent)

    @property
    def server(self) -> str:
        return self._http.server

    @classmethod
    def from_kubeconfig(cls, paths: Path | str, context: str = "") -> Self:
        """As kubectl reads it, the current context by default. Raises UserError."""
        from clew.watch.kubeconfig import load  # noqa: PLC0415  # YAML and TLS cost 50 ms that few commands need

        return cls.of(load(paths, context))

    @classmethod
    def in_cluster(cls) -> Self:
        """By the service account's files and environment in a pod. Raises UserError outside of one."""
        from clew.watch.credentials import in_cluster  # noqa: PLC0415  # as above

        return cls.of(in_cluster())

    @classmethod
    def of(cls, access: "Access") -> Self:
        client = cls(access.server, ssl=access.ssl, token=access.token)
        client._http.server_name = access.server_name or None
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    def leave(self, address: str) -> None:
        """Begin anew what is under way from an address that this machine has lost: its kernel would wait for long."""
        self._http.leave(address)

    # Objects.

    async def get(self, kind: Kind, name: str, namespace: str = "", subresource: str = "") -> Object:
        return await self._object("GET", _path(kind, namespace, name, subresource))

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", resource_version: str = ""
    ) -> ObjectList:
        """All objects, decoded, with apiVersion and kind filled in (a server leaves them out of lists)."""
        items: list[Object] = []
        version = ""
        async for page in self.pages(kind, namespace, labels=labels, fields=fields, resource_version=resource_version):
            version = page.resource_version
            items.extend(typed(kind, msgspec.json.decode(raw)) for raw in page.items)
        return ObjectList(items, version)

    async def pages(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", resource_version: str = ""
    ) -> AsyncIterator[Page]:
        """A list, page by page. Raises ApiError; `gone` when it took so long that the server forgot its version."""
        query = _selection(labels, fields) | {"limit": str(PAGE)}
        if resource_version:
            query["resourceVersion"] = resource_version
        while True:
            answer = _decode_list(await self._http.send("GET", _path(kind, namespace), query))
            yield Page(answer.items or [], answer.metadata.resourceVersion)
            if not answer.metadata.continue_:
                return
            query.pop("resourceVersion", None)
            query["continue"] = answer.metadata.continue_

    async def create(
        self, kind: Kind, obj: Object, namespace: str = "", subresource: str = "", name: str = ""
    ) -> Object:
        """POST; for a subresource (binding, eviction, token) `name` is the object's. The object as stored."""
        namespace = namespace or key_of(obj)[0]
        return await self._object("POST", _path(kind, namespace, name, subresource), body=msgspec.json.encode(obj))

    async def update(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """PUT; raises a conflict when the object's resourceVersion is not the newest."""
        namespace, name = key_of(obj)
        return await self._object("PUT", _path(kind, namespace, name, subresource), body=msgspec.json.encode(obj))

    async def patch(  # noqa: PLR0913  # a patch's parameters are the API's own
        self,
        kind: Kind,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        subresource: str = "",
        content_type: str = MERGE,
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        query = {"fieldManager": field_manager} if field_manager else {}
        if force:
            query["force"] = "true"
        path = _path(kind, namespace, name, subresource)
        return await self._object("PATCH", path, query, msgspec.json.encode(body), content_type)

    async def delete(  # noqa: PLR0913  # as above
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Raises not_found when it is not there, a conflict when another object has the name, or it has changed.

        That is asked only where `uid` or `resource_version` is given.
        """
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        wanted = {"uid": uid, "resourceVersion": resource_version}
        if uid or resource_version:
            options["preconditions"] = {name: value for name, value in wanted.items() if value}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        await self._http.send("DELETE", _path(kind, namespace, name), body=msgspec.json.encode(options))

    async def delete_collection(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> None:
        """Every object of a collection, or what the selectors leave of it; Background propagation."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        query = _selection(labels, fields)
        await self._http.send("DELETE", _path(kind, namespace), query, msgspec.json.encode(options))

    async def get_path(self, path: str, accept: str = "application/json") -> Any:
        """Any JSON document of the server, such as discovery's."""
        return msgspec.json.decode(await self._http.send("GET", path, accept=accept))

    async def watch(  # noqa: PLR0913  # keywords with defaults, as in the API
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        initial_events: bool = False,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version` as they arrive; ends when the server ends it.

        Raises ApiError: `gone` when the version is compacted, Unreachable when the stream breaks. With
        `initial_events` (KEP-3157) it begins with all objects as ADDED and a BOOKMARK that says so. `opened` is called
        when the server has agreed. Close the iterator (contextlib.aclosing) when leaving it early.
        """
        seconds = between(*WATCH_SECONDS)
        query = _selection(labels, fields) | {
            "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(seconds)),
        }  # fmt: skip
        if resource_version:
            query["resourceVersion"] = resource_version
        if initial_events:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        lines = Lines()
        async with self._http.response("GET", _path(kind, namespace), query, quiet=seconds + 30) as response:
            if response.status != 200:
                raise await refusal(response)
            if opened is not None:
                opened()
            while data := await response.some():
                for line in lines.feed(data):
                    event = _decode_event(line)
                    if event.type == "ERROR":
                        raise from_response(500, bytes(event.object))
                    yield WatchEvent(event.type, bytes(event.object))

    async def _object(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> Object:
        answer: Object = msgspec.json.decode(await self._http.send(method, path, query, body, content_type))
        return answer


def typed(kind: Kind, obj: Object) -> Object:
    """The object with its apiVersion and kind, which a server leaves out of lists."""
    obj.setdefault("apiVersion", kind.api_version)
    obj.setdefault("kind", kind.kind)
    return obj


def _path(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    return kind.path(namespace, quote(name, safe=":.-_~") if name else "", subresource)


def _selection(labels: str, fields: str) -> dict[str, str]:
    return {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
