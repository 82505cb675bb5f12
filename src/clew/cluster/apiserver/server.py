"""The HTTP side: sockets and TLS, who asks, whether they may, and which room answers."""

import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

from clew.api.kinds import Kind
from clew.base.clock import Clock, SystemClock
from clew.base.errors import WorldError
from clew.cluster.apiserver.access import Access
from clew.cluster.apiserver.bootstrap import bootstrap
from clew.cluster.apiserver.documents import Documents
from clew.cluster.apiserver.errors import ApiRefusal, no_such_path
from clew.cluster.apiserver.identity import AUTHENTICATED, Identity, Tokens, from_certificate, unauthorized
from clew.cluster.apiserver.objects import Objects
from clew.cluster.apiserver.options import ApiServerOptions, ServerPki
from clew.cluster.apiserver.paths import RequestInfo, read_path
from clew.cluster.apiserver.rbac import Attributes
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.replies import respond
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.strategies import Strategies
from clew.cluster.storage import Storage
from clew.cluster.streams import NodeStreams

_LARGEST_BODY = 3 << 20  # bytes, as kube-apiserver's limit for a request


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
        self.registry = Registry(self.state, Strategies(self.state))
        self.access = Access(self.state)
        self.documents = Documents(self.state)
        self.objects = Objects(self.registry, self.access, self.tokens, streams, self.read_token)
        self._runner: web.AppRunner | None = None

    async def start(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext) -> None:
        """Make what every cluster starts with, then serve on the listening sockets."""
        await bootstrap(self.registry)
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, keepalive_timeout=75)
        await self._runner.setup()
        for sock in sockets:
            await web.SockSite(self._runner, sock, ssl_context=tls, backlog=512).start()

    async def stop(self) -> None:
        self.state.stopping.set()
        self.state.storage.wake()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def read_token(self, token: str, audience: str = "") -> Identity | None:
        return self.tokens.read(token, audience or self.tokens.issuer, self._alive)

    def _alive(self, plural: str, namespace: str, name: str, uid: str) -> bool:
        record = self.state.storage.latest(plural, f"{namespace}/{name}")
        return record is not None and record.decode()["metadata"]["uid"] == uid

    def _identify(self, request: web.Request) -> Identity:
        who = None
        header = request.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            who = self.read_token(header[7:].strip())
        else:
            peer = request.transport.get_extra_info("peercert") if request.transport else None
            who = from_certificate(peer) if peer else None
        if who is None:
            raise unauthorized()
        return self._impersonated(request, who)

    def _impersonated(self, request: web.Request, who: Identity) -> Identity:
        """`--as` and `--as-group`: needs the verb impersonate on the user and on each group."""
        user = request.headers.get("Impersonate-User")
        if not user:
            return who
        groups = request.headers.getall("Impersonate-Group", [])
        self.access.check(who, Attributes("impersonate", "", "users", name=user))
        for group in groups:
            self.access.check(who, Attributes("impersonate", "", "groups", name=group))
        if user.startswith("system:serviceaccount:") and not groups:
            namespace = user.split(":")[2]
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        return Identity(user, (*groups, AUTHENTICATED))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiRefusal as refusal:
            return respond(refusal.status(), refusal.code)
        except WorldError as error:
            failure = ApiRefusal(500, "InternalError", f"Internal error occurred: {error}")
            return respond(failure.status(), failure.code)
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {_LARGEST_BODY}"
            return respond(ApiRefusal(413, "RequestEntityTooLarge", message).status(), 413)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        who = self._identify(request)
        watch = request.query.get("watch") in {"true", "1"}
        info = read_path(request.method, request.path, watch=watch)
        if not info.resource:
            self.access.check(who, Attributes(info.verb, path=info.path))
            return await self.documents.answer(request, info)
        asked = Attributes(
            info.verb, info.group, info.resource, info.subresource, info.namespace, info.name
        )  # fmt: skip
        self.access.check(who, asked)
        kind = self._kind(info)
        return await self.objects.answer(request, info, kind, who)

    def _kind(self, info: RequestInfo) -> Kind:
        kind = self.state.catalog.find(info.group, info.version, info.resource)
        if kind is None or (info.subresource and info.subresource not in kind.subresources):
            raise no_such_path()
        return kind
