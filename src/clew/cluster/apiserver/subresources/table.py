"""Which subresource is served by whom; status, finalize and ephemeralcontainers are ordinary updates."""

from aiohttp import web

from clew.api.kinds import POD, SCALE, SERVICE_ACCOUNT, Kind
from clew.api.objects import Object
from clew.cluster.apiserver import patching
from clew.cluster.apiserver.bodies import read_object, validation_of, writer_of
from clew.cluster.apiserver.errors import method_not_allowed
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.paths import RequestInfo
from clew.cluster.apiserver.reading import selection, shaped
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.replies import respond
from clew.cluster.apiserver.subresources.binding import BINDING, EVICTION, bind, evict
from clew.cluster.apiserver.subresources.pods import PodStreams
from clew.cluster.apiserver.subresources.proxy import Proxy
from clew.cluster.apiserver.subresources.scale import Scales
from clew.cluster.apiserver.subresources.token import TOKEN_REQUEST, request_token
from clew.cluster.apiserver.tokens import Tokens

STREAMS = frozenset({"log", "exec", "attach", "portforward"})
_BODIES = {(SERVICE_ACCOUNT, "token"): TOKEN_REQUEST, (POD, "binding"): BINDING, (POD, "eviction"): EVICTION}


class Subresources:
    """Asked first for every request with an object's part; answers None for those that are ordinary."""

    def __init__(self, registry: Registry, tokens: Tokens, streams: PodStreams) -> None:
        self.registry = registry
        self.tokens = tokens
        self.streams = streams
        self.scales = Scales(registry)
        self.proxy = Proxy(registry.state, streams.nodes)

    async def answer(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse | None:
        part = info.subresource
        if part == "proxy":
            return await self.proxy.serve(request, kind, info.namespace, info.name)
        if part in STREAMS and kind == POD:
            if info.verb not in ({"get"} if part == "log" else {"get", "create"}):
                raise method_not_allowed()
            return await self.streams.serve(request, info.namespace, info.name, part)
        if part == "scale":
            return await self._scale(request, info, kind, who)
        wanted = _BODIES.get((kind, part)) if info.verb == "create" else None
        if wanted is None:
            return None
        body, warnings = await read_object(request, wanted)
        return respond(await self._created(request, info, wanted, body, who), 201, warnings)

    async def _created(
        self, request: web.BaseRequest, info: RequestInfo, wanted: Kind, body: Object, who: Identity
    ) -> Object:
        if wanted == TOKEN_REQUEST:
            return request_token(self.registry.state, self.tokens, info.namespace, info.name, body)
        act = bind if wanted == BINDING else evict
        return await act(self.registry, info.namespace, info.name, body, writer_of(request, who))

    async def _scale(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        writer = writer_of(request, who)
        match info.verb:
            case "get":
                scale = self.scales.of(kind, self.registry.state.get(kind, info.namespace, info.name))
                chosen = selection(self.registry.state, SCALE, info.namespace, {}, request.headers.get("Accept", ""))
                return respond(shaped(self.registry.state, chosen, scale))
            case "update":
                scale, warnings = await read_object(request, SCALE)
            case "patch":
                patch = patching.read_patch(request.content_type, await request.read(), validation_of(request))
                scale, warnings = self.scales.patched(kind, info.namespace, info.name, patch)
            case _:
                raise method_not_allowed()
        made = await self.scales.set(kind, info.namespace, info.name, scale, writer)
        return respond(made, 200, warnings)
