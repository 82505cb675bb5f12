"""Requests about resources: each verb to the room that does it."""

from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

from aiohttp import web

from clew.api.kinds import CREATE_ONLY, NAMESPACE, POD, SERVICE_ACCOUNT, Kind
from clew.api.objects import Object
from clew.api.patch import merge_patch
from clew.cluster.apiserver import patching, reading
from clew.cluster.apiserver.access import Access
from clew.cluster.apiserver.bodies import check_fields, read_object
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, method_not_allowed
from clew.cluster.apiserver.identity import Identity, Tokens
from clew.cluster.apiserver.paths import RequestInfo
from clew.cluster.apiserver.pod_streams import serve_stream
from clew.cluster.apiserver.reading import list_page, selection, shaped
from clew.cluster.apiserver.registry import Registry, write_event
from clew.cluster.apiserver.replies import respond, respond_bytes
from clew.cluster.apiserver.reviews import review
from clew.cluster.apiserver.state import Writer
from clew.cluster.apiserver.subresources import objects as parts
from clew.cluster.apiserver.watching import Watch
from clew.cluster.streams import NodeStreams

_STREAMS = {"log", "exec", "attach", "portforward"}
_DEFAULT_WATCH = 1800.0  # seconds


def writer_of(request: web.Request, who: Identity) -> Writer:
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in {"", "All"}:
        raise bad_request(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
    manager = query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0]
    return Writer(who, manager, dry_run == "All", query.get("force") in {"true", "1"})


class Objects:
    def __init__(
        self,
        registry: Registry,
        access: Access,
        tokens: Tokens,
        streams: NodeStreams,
        read_token: Callable[[str], Identity | None],
    ) -> None:
        self.registry = registry
        self.state = registry.state
        self.access = access
        self.tokens = tokens
        self.streams = streams
        self.read_token = read_token
        self.patcher = patching.Patcher(registry)

    async def answer(self, request: web.Request, info: RequestInfo, kind: Kind, who: Identity) -> web.StreamResponse:
        """One permitted request."""
        if info.subresource in _STREAMS:
            return await serve_stream(request, self.state, self.streams, info.namespace, info.name, info.subresource)
        if kind.verbs == CREATE_ONLY:
            if info.verb != "create":
                raise method_not_allowed()
            obj, _ = await read_object(request, None)
            return respond(review(kind, obj, who, self.access, self.read_token), 201)
        match info.verb:
            case "get":
                return self._get(request, info, kind)
            case "list":
                return self._list(request, info, kind)
            case "watch":
                return await self._watch(request, info, kind)
            case "create":
                return await self._create(request, info, kind, who)
            case "update":
                return await self._update(request, info, kind, who)
            case "patch":
                return await self._patch(request, info, kind, who)
            case "delete" | "deletecollection":
                return await self._delete(request, info, kind, who)
        raise method_not_allowed()

    def _chosen(self, request: web.Request, info: RequestInfo, kind: Kind) -> reading.Selection:
        namespace = info.namespace if kind.namespaced else ""
        return selection(kind, namespace, request.query, request.headers.get("Accept", ""))

    def _get(self, request: web.Request, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        chosen = self._chosen(request, info, kind)
        if info.subresource == "scale":
            return respond(parts.scale_of(kind, self.state.get(kind, info.namespace, info.name)))
        if chosen.form == "object" and kind.group != "events.k8s.io":
            return respond_bytes(self.state.stored(kind, info.namespace, info.name).raw)
        return respond(shaped(self.state, chosen, self.state.get(kind, info.namespace, info.name)))

    def _list(self, request: web.Request, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        chosen = self._chosen(request, info, kind)
        limit = _number(request, "limit")
        page = list_page(self.state, chosen, limit, request.query.get("continue", ""))
        return respond_bytes(reading.encode_list(self.state, chosen, page))

    async def _watch(self, request: web.Request, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        chosen = self._chosen(request, info, kind)
        query = request.query
        version = query.get("resourceVersion", "")
        if version and not version.isdecimal():
            raise bad_request(f'invalid resource version "{version}": it must be a number that this server gave')
        if info.name:
            only = {**query, "fieldSelector": f"metadata.name={info.name}"}
            chosen = selection(kind, info.namespace, only, request.headers.get("Accept", ""))
        initial = query.get("sendInitialEvents") == "true"
        seconds = float(query.get("timeoutSeconds") or 0) or _DEFAULT_WATCH
        bookmarks = query.get("allowWatchBookmarks") == "true"
        watch = Watch(self.state, chosen, bookmarks=bookmarks or initial, seconds=seconds)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        replay = version in {"", "0"} and query.get("sendInitialEvents") != "false"
        with suppress(ConnectionResetError):  # clients end a watch by going away
            async with aclosing(watch.lines(version or "0", initial=initial, replay=replay)) as lines:
                async for chunk in lines:
                    if chunk:
                        await response.write(chunk)
            await response.write_eof()
        return response

    async def _create(self, request: web.Request, info: RequestInfo, kind: Kind, who: Identity) -> web.StreamResponse:
        writer = writer_of(request, who)
        if info.subresource or info.name:
            return await self._create_part(request, info, kind, writer)
        obj, warnings = await read_object(request, kind)
        namespace = info.namespace if kind.namespaced else ""
        if kind.namespaced and not namespace:
            raise method_not_allowed()
        made = await self.registry.create(kind, namespace, write_event(kind, obj), writer)
        return respond(shaped(self.state, self._chosen(request, info, kind), made), 201, warnings)

    async def _create_part(
        self, request: web.Request, info: RequestInfo, kind: Kind, writer: Writer
    ) -> web.StreamResponse:
        obj, _ = await read_object(request, None)
        match (kind, info.subresource):
            case (k, "binding") if k == POD:
                return respond(await parts.bind(self.registry, info.namespace, info.name, obj, writer), 201)
            case (k, "eviction") if k == POD:
                return respond(await parts.evict(self.registry, info.namespace, info.name, obj, writer), 201)
            case (k, "token") if k == SERVICE_ACCOUNT:
                made = parts.request_token(self.registry, self.tokens, info.namespace, info.name, obj)
                return respond(made, 201)
        raise method_not_allowed()

    async def _update(self, request: web.Request, info: RequestInfo, kind: Kind, who: Identity) -> web.StreamResponse:
        writer = writer_of(request, who)
        if info.subresource == "scale":
            scale, _ = await read_object(request, None)
            made = await parts.set_scale(self.registry, kind, info.namespace, info.name, scale, writer)
            return respond(made)
        obj, warnings = await read_object(request, kind)
        if kind == NAMESPACE and info.subresource == "finalize":
            return respond(await self.registry.finalize_namespace(info.name, obj, writer))
        self._check_name(info, obj)
        obj = write_event(kind, obj)
        made = await self.registry.update(kind, info.namespace, info.name, obj, writer, info.subresource)
        return respond(shaped(self.state, self._chosen(request, info, kind), made), 200, warnings)

    def _check_name(self, info: RequestInfo, obj: Object) -> None:
        given = (obj.get("metadata") or {}).get("name")
        if given and given != info.name:
            raise bad_request(
                f"the name of the object ({given}) does not match the name on the URL ({info.name})"
            )  # fmt: skip

    async def _patch(self, request: web.Request, info: RequestInfo, kind: Kind, who: Identity) -> web.StreamResponse:
        writer = writer_of(request, who)
        content_type = request.content_type
        patch = patching.read_patch(content_type, await request.read())
        if info.subresource == "scale":
            return respond(await self._patch_scale(info, kind, patch, content_type, writer))
        if content_type == patching.APPLY and not request.query.get("fieldManager"):
            raise bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        warnings = self._patched_fields(request, kind, patch, content_type)
        target = patching.Target(kind, info.namespace, info.name, info.subresource)
        made, created = await self.patcher.patch(target, content_type, patch, writer)
        chosen = self._chosen(request, info, kind)
        return respond(shaped(self.state, chosen, made), 201 if created else 200, warnings)

    def _patched_fields(self, request: web.Request, kind: Kind, patch: Any, content_type: str) -> list[str]:
        """Unknown fields of an apply or merge patch; a strategic one has directives among its fields."""
        if content_type not in {patching.APPLY, patching.MERGE} or not isinstance(patch, dict):
            return []
        return check_fields(kind, patch, request.query.get("fieldValidation", "Warn"))

    async def _patch_scale(
        self, info: RequestInfo, kind: Kind, patch: Any, content_type: str, writer: Writer
    ) -> Object:
        if content_type not in {patching.MERGE, patching.STRATEGIC} or not isinstance(patch, dict):
            raise ApiRefusal(415, "UnsupportedMediaType", "scale takes a merge patch")
        current = parts.scale_of(kind, self.state.get(kind, info.namespace, info.name))
        current["metadata"].pop("resourceVersion", None)
        scale = merge_patch(current, patch)
        return await parts.set_scale(self.registry, kind, info.namespace, info.name, scale, writer)

    async def _delete(self, request: web.Request, info: RequestInfo, kind: Kind, who: Identity) -> web.StreamResponse:
        options, _ = await read_object(request, None)
        for name in ("propagationPolicy", "gracePeriodSeconds"):
            if name in request.query:
                value = request.query[name]
                options[name] = int(value) if name == "gracePeriodSeconds" else value
        dry_run = writer_of(request, who).dry_run or "All" in (options.get("dryRun") or ())
        if info.verb == "deletecollection":
            return await self._delete_collection(request, info, kind, options, dry_run=dry_run)
        obj, gone = await self.registry.delete(kind, info.namespace, info.name, options, dry_run=dry_run)
        if not gone or kind == POD:
            return respond(obj)
        meta = obj["metadata"]
        details = {"name": meta["name"], "group": kind.group, "kind": kind.plural, "uid": meta["uid"]}
        if not kind.group:
            del details["group"]
        return respond({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    async def _delete_collection(
        self, request: web.Request, info: RequestInfo, kind: Kind, options: Object, *, dry_run: bool
    ) -> web.StreamResponse:
        chosen = self._chosen(request, info, kind)
        page = list_page(self.state, chosen, 0, "")
        deleted: list[Object] = []
        for record in page.records:
            obj = record.decode()
            meta = obj["metadata"]
            try:
                done, _ = await self.registry.delete(
                    kind, meta.get("namespace", ""), meta["name"], options, dry_run=dry_run
                )
            except ApiRefusal as refusal:
                if refusal.code != 404:
                    raise
            else:
                deleted.append(done)
        meta = {"resourceVersion": str(page.revision)}
        return respond({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": deleted})


def _number(request: web.Request, name: str) -> int:
    value = request.query.get(name, "0") or "0"
    if not value.isdecimal():
        raise bad_request(f"{name} must be a whole number, not {value!r}")
    return int(value)
