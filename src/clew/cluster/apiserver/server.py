"""The HTTP side: sockets and TLS, who asks, whether they may, and which room answers."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web

from clew.api.kinds import Kind
from clew.base.clock import Clock, SystemClock
from clew.base.errors import WorldError
from clew.cluster.apiserver.access import Access
from clew.cluster.apiserver.bootstrap import bootstrap
from clew.cluster.apiserver.chores import Chores
from clew.cluster.apiserver.documents import Documents
from clew.cluster.apiserver.errors import ApiRefusal, UnknownPath, internal, no_such_path
from clew.cluster.apiserver.identity import Identity, from_certificate, impersonated, unauthorized
from clew.cluster.apiserver.list_options import flag
from clew.cluster.apiserver.objects import Objects
from clew.cluster.apiserver.options import ApiServerOptions, ServerPki
from clew.cluster.apiserver.paths import RequestInfo, read_path
from clew.cluster.apiserver.rbac import Attributes
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.replies import compressed, respond
from clew.cluster.apiserver.reviews import Reviews
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies import Strategies
from clew.cluster.apiserver.subresources.pods import PodStreams
from clew.cluster.apiserver.subresources.table import Subresources
from clew.cluster.apiserver.tokens import Owner, Tokens
from clew.cluster.storage import Storage
from clew.cluster.streams import NodeStreams

IDLE_SECONDS = 90.0  # a connection that has no whole request for that long is closed, the first one too
_LARGEST_BODY = 3 << 20  # bytes, as kube-apiserver's limit for a request
_CONNECTING = frozenset({"exec", "attach", "portforward"})
_log = logging.getLogger(__name__)


class ApiServer:
    """`start` serves until `stop`; the sockets may lie in other network namespaces."""

    def __init__(
        self,
        storage: Storage,
        options: ApiServerOptions,
        pki: ServerPki,
        streams: NodeStreams,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.state = State(storage, options, clock)
        self.tokens = Tokens(pki.service_account_key_pem, pki.issuer, clock)
        self.access = Access(self.state)
        self.registry = Registry(self.state, Strategies(self.state), self.access)
        self.chores = Chores(self.registry)
        self.documents = Documents(self.state, self.tokens)
        self._streams = PodStreams(self.state, streams)
        self.objects = Objects(
            self.registry,
            Reviews(self.access, self.read_token, clock),
            Subresources(self.registry, self.tokens, self._streams),
        )
        self._certificates: dict[bytes, Identity | None] = {}
        self._runner: web.ServerRunner | None = None
        self._chores: asyncio.Task[None] | None = None

    async def start(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext) -> None:
        """Make what every cluster starts with, then serve on the listening sockets. WorldError where storage fails."""
        await bootstrap(self.registry)
        await self.chores.gather_roles()
        server = web.Server(self._handle, request_factory=_request, access_log=None, keepalive_timeout=IDLE_SECONDS)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        for sock in sockets:
            await web.SockSite(self._runner, sock, ssl_context=tls, backlog=512).start()
        self._chores = asyncio.create_task(self.chores.run(), name="API server chores")

    async def stop(self) -> None:
        """Watches end with their last line, sessions with a close frame; requests under way get a second."""
        self.state.stopping.set()
        self.state.storage.wake()
        if self._chores is not None:
            self._chores.cancel()
            with suppress(asyncio.CancelledError):
                await self._chores
        await self._streams.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def read_token(self, token: str, audiences: Sequence[str] = ()) -> tuple[Identity, tuple[str, ...]] | None:
        """The account of a service account token that is valid for one of the audiences (by default our own)."""
        return self.tokens.read(token, audiences or (self.tokens.issuer,), self._alive)

    def _alive(self, owner: Owner) -> bool:
        record = self.state.storage.latest(owner.resource, f"{owner.namespace}/{owner.name}")
        return record is not None and record.decode()["metadata"]["uid"] == owner.uid

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await compressed(request, await self._answer(request))
        except UnknownPath as refusal:
            return web.Response(status=refusal.code, text=refusal.page)
        except ApiRefusal as refusal:
            return respond(refusal.status(), refusal.code)
        except WorldError as error:
            failure = internal(str(error))
            return respond(failure.status(), failure.code)
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {_LARGEST_BODY}"
            return respond(ApiRefusal(413, "RequestEntityTooLarge", message, {}).status(), 413)
        except (ConnectionError, web.HTTPException, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - one failed request is told and logged, the others go on
            _log.exception("%s %s", request.method, request.path_qs)
            failure = internal("the API server failed at this request; its log says why")
            return respond(failure.status(), failure.code)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        who = impersonated(request, self._identify(request), self.access.check)
        query = request.query
        info = read_path(request.method, request.path, watch=flag(query, "watch"))
        if not info.resource:
            self.access.check(who, Attributes(info.verb, path=info.path))
            return self.documents.answer(request, info)
        verb = "create" if info.subresource in _CONNECTING else info.verb  # what a connection may do is to create
        name = info.name or _pinned(query.get("fieldSelector", ""))
        self.access.check(who, Attributes(verb, info.group, info.resource, info.subresource, info.namespace, name))
        return await self.objects.answer(request, info, self._kind(info), who)

    def _identify(self, request: web.BaseRequest) -> Identity:
        header = request.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            found = self.read_token(header[7:].strip())
            if found is None:
                raise unauthorized()
            return found[0]
        who = self._of_certificate(request)
        if who is None:
            raise unauthorized()
        return who

    def _of_certificate(self, request: web.BaseRequest) -> Identity | None:
        """The TLS layer has verified it; its subject is read once a certificate."""
        ssl_object = request.transport.get_extra_info("ssl_object") if request.transport else None
        if ssl_object is None or not (der := ssl_object.getpeercert(binary_form=True)):
            return None
        if der not in self._certificates:
            self._certificates[der] = from_certificate(ssl_object.getpeercert())
        return self._certificates[der]

    def _kind(self, info: RequestInfo) -> Kind:
        kind = self.state.catalog.find(info.group, info.version, info.resource)
        if kind is None or (info.subresource and info.subresource not in kind.subresources):
            raise no_such_path()
        return kind


def _pinned(selector: str) -> str:
    """The name that a list or watch is narrowed to: who may see that object may list it so."""
    name = selector.removeprefix("metadata.name=")
    return name if name != selector and "," not in name else ""


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """A request of aiohttp, with the size of body that an API server takes."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY)
