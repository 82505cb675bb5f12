"""Which subresource is served by whom; status, finalize and ephemeralcontainers are ordinary updates."""

from typing import Any

from aiohttp import web

from clew.api.kinds import POD, SERVICE_ACCOUNT, Kind
from clew.api.objects import Object
from clew.cluster.apiserver import patching
from clew.cluster.apiserver.bodies import read_options
from clew.cluster.apiserver.errors import method_not_allowed, unsupported_media
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.paths import RequestInfo
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.replies import respond
from clew.cluster.apiserver.state import Writer
from clew.cluster.apiserver.subresources.binding import bind, evict
from clew.cluster.apiserver.subresources.pods import PodStreams
from clew.cluster.apiserver.subresources.scale import Scales
from clew.cluster.apiserver.subresources.token import request_token
from clew.cluster.apiserver.tokens import Tokens

STREAMS = frozenset({"log", "exec", "attach", "portforward"})
_SCALE = Kind("autoscaling", "v1", "Scale", "scales", True)


class Subresources:
    """Asked first for every request with an object's part; answers None for those that are ordinary."""

    def __init__(self, registry: Registry, tokens: Tokens, streams: PodStreams) -> None:
        self.registry = registry
        self.tokens = tokens
        self.streams = streams
        self.scales = Scales(registry)

    async def answer(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse | None:
        part = info.subresource
        if part in STREAMS and kind == POD:
            if info.verb not in ({"get"} if part == "log" else {"get", "create"}):
                raise method_not_allowed()
            return await self.streams.serve(request, info.namespace, info.name, part)
        if part == "scale":
            return await self._scale(request, info, kind, who)
        if info.verb != "create" or not part:
            return None
        body = await read_options(request)
        if kind == SERVICE_ACCOUNT and part == "token":
            made = request_token(self.registry.state, self.tokens, info.namespace, info.name, body)
            return respond(made, 201)
        if kind == POD and part == "binding":
            return respond(await bind(self.registry, info.namespace, info.name, body, _writer(request, who)), 201)
        if kind == POD and part == "eviction":
            return respond(await evict(self.registry, info.namespace, info.name, body, _writer(request, who)), 201)
        return None

    async def _scale(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        if info.verb == "get":
            return respond(self.scales.of(kind, self.registry.state.get(kind, info.namespace, info.name)))
        if info.verb == "update":
            scale = await read_options(request)
        elif info.verb == "patch":
            language = request.content_type
            patch = patching.read_patch(language, await request.read())
            scale = self._patched(info, kind, language, patch)
        else:
            raise method_not_allowed()
        return respond(await self.scales.set(kind, info.namespace, info.name, scale, _writer(request, who)))

    def _patched(self, info: RequestInfo, kind: Kind, language: str, patch: Any) -> Object:
        if language == patching.APPLY:
            raise unsupported_media(patching.LANGUAGES[:-1])
        current = self.scales.of(kind, self.registry.state.get(kind, info.namespace, info.name))
        current["metadata"].pop("resourceVersion", None)
        # Scale is flat: a strategic patch of it is a merge patch
        return patching.apply_language(
            patching.JSON if language == patching.JSON else patching.MERGE, _SCALE, current, patch
        )


def _writer(request: web.BaseRequest, who: Identity) -> Writer:
    manager = request.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0]
    return Writer(who, manager, request.query.get("dryRun") == "All")
