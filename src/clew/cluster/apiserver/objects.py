"""Requests about objects: each verb read from HTTP, done by the room whose matter it is, answered in the asked form."""

from contextlib import aclosing, suppress

from aiohttp import web

from clew.api.kinds import CREATE_ONLY, ENDPOINTS, NAMESPACE, Kind
from clew.api.objects import Object
from clew.cluster.admission import warnings_of
from clew.cluster.apiserver import patching, reading
from clew.cluster.apiserver.bodies import read_object, read_options, validation_of, writer_of
from clew.cluster.apiserver.catalog import stored_kind
from clew.cluster.apiserver.errors import bad_request, method_not_allowed, not_found, too_new
from clew.cluster.apiserver.feeds import Feeds
from clew.cluster.apiserver.identity import Identity
from clew.cluster.apiserver.list_options import flag, list_wanted, watch_wanted
from clew.cluster.apiserver.paths import RequestInfo
from clew.cluster.apiserver.reading import list_page, selection, shaped
from clew.cluster.apiserver.registry import Registry, check_name
from clew.cluster.apiserver.replies import respond, respond_bytes, success
from clew.cluster.apiserver.reviews import Reviews
from clew.cluster.apiserver.state import Writer
from clew.cluster.apiserver.strategies.pods import with_ephemeral_containers
from clew.cluster.apiserver.subresources.table import Subresources
from clew.cluster.apiserver.versions import as_stored, inward
from clew.cluster.apiserver.watching import Watch

_OLD_ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
# Kinds whose deletion answers with the object, whether or not it is gone already
_ANSWER_WITH_OBJECT = frozenset({"pods", "services", "serviceaccounts"})


class Objects:
    """Permitted requests about stored objects and the reviews."""

    def __init__(self, registry: Registry, reviews: Reviews, subresources: Subresources) -> None:
        self.registry = registry
        self.state = registry.state
        self.reviews = reviews
        self.subresources = subresources
        self.feeds = Feeds(registry.state)
        self.patcher = patching.Patcher(registry)

    async def answer(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        """One permitted request."""
        if kind.verbs == CREATE_ONLY:
            if info.verb != "create":
                raise method_not_allowed()
            review, warnings = await read_object(request, kind)
            return respond(self.reviews.answer(kind, info.namespace, review, who), 201, warnings)
        handled = await self.subresources.answer(request, info, kind, who)
        if handled is not None:
            return handled
        response = await self._verb(request, info, kind, who)
        if kind == ENDPOINTS and not response.prepared:
            response.headers.add("Warning", f'299 - "{_OLD_ENDPOINTS}"')
        return response

    async def _verb(self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity) -> web.StreamResponse:
        if kind.namespaced and not info.namespace and info.verb not in {"list", "watch"}:
            raise method_not_allowed()
        match info.verb:
            case "get":
                return self._get(request, info, kind)
            case "list":
                return self._list(request, info, kind)
            case "watch":
                return await self._watch(request, info, kind)
            case "create" if not info.name:
                return await self._create(request, info, kind, who)
            case "update" if info.name:
                return await self._update(request, info, kind, who)
            case "patch" if info.name:
                return await self._patch(request, info, kind, who)
            case "delete" if not info.subresource:
                return await self._delete(request, info, kind, who)
            case "deletecollection":
                return await self._delete_collection(request, info, kind, who)
        raise method_not_allowed()

    def _chosen(self, request: web.BaseRequest, info: RequestInfo, kind: Kind) -> reading.Selection:
        namespace = info.namespace if kind.namespaced else ""
        query = dict(request.query)
        if info.name and info.verb == "watch":
            query["fieldSelector"] = f"metadata.name={info.name}"
        return selection(self.state, kind, namespace, query, request.headers.get("Accept", ""))

    def _get(self, request: web.BaseRequest, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        chosen = self._chosen(request, info, kind)
        record = self.state.stored(kind, info.namespace, info.name)
        if chosen.form == "object" and as_stored(self.state.catalog, kind):
            return respond_bytes(record.raw)
        return respond(shaped(self.state, chosen, record.decode()))

    def _list(self, request: web.BaseRequest, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        chosen = self._chosen(request, info, kind)
        page = list_page(self.state, chosen, list_wanted(request.query))
        return respond_bytes(reading.encode_list(self.state, chosen, page))

    async def _watch(self, request: web.BaseRequest, info: RequestInfo, kind: Kind) -> web.StreamResponse:
        wanted = watch_wanted(request.query)
        newest = self.state.storage.revision
        if wanted.since is not None and wanted.since > newest:
            raise too_new(wanted.since, newest)
        watch = Watch(self.feeds.of(self._chosen(request, info, kind)), wanted)
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        with suppress(ConnectionError):  # clients end a watch by going away
            async with aclosing(watch.lines()) as lines:
                async for chunk in lines:
                    if chunk:
                        await response.write(chunk)
                    elif request.transport is None or request.transport.is_closing():
                        return response
            await response.write_eof()
        return response

    async def _create(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        writer = writer_of(request, who)
        obj, warnings = await self._read(request, kind)
        chosen = self._chosen(request, info, kind)
        namespace = info.namespace if kind.namespaced else ""
        made = await self.registry.create(stored_kind(kind), namespace, inward(kind, obj), writer)
        return respond(shaped(self.state, chosen, made), 201, warnings + warnings_of(stored_kind(kind), made))

    async def _read(self, request: web.BaseRequest, kind: Kind) -> tuple[Object, list[str]]:
        return await read_object(request, kind, self.state.catalog.custom(kind))

    async def _update(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        writer = writer_of(request, who)
        obj, warnings = await self._read(request, kind)
        chosen = self._chosen(request, info, kind)
        if kind == NAMESPACE and info.subresource == "finalize":
            return respond(await self.registry.deleter.finalize_namespace(info.name, obj, writer))
        check_name(info.namespace, info.name, obj)
        stored, obj = stored_kind(kind), inward(kind, obj)
        record = self.state.latest(stored, info.namespace, info.name)
        if record is None and not info.subresource and self.registry.strategies.of(stored).created_by_update:
            self.registry.access.check_create(stored, info.namespace, info.name, who)
            made = await self.registry.create(stored, info.namespace, obj, writer)
            return respond(shaped(self.state, chosen, made), 201, warnings + warnings_of(stored, made))
        if info.subresource == "ephemeralcontainers":
            if record is None:
                raise not_found(kind, info.name)
            obj = with_ephemeral_containers(record.decode(), obj)
        made = await self.registry.update(stored, info.namespace, info.name, obj, writer, info.subresource)
        warnings += [] if info.subresource else warnings_of(stored, made)
        return respond(shaped(self.state, chosen, made), 200, warnings)

    async def _patch(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        writer = writer_of(request, who)
        language = request.content_type
        patch = patching.read_patch(language, await request.read(), validation_of(request))
        patching.check_options(language, manager=request.query.get("fieldManager", ""), forced=writer.force)
        chosen = self._chosen(request, info, kind)
        target = patching.Target(kind, info.namespace, info.name, info.subresource)
        done = await self.patcher.patch(target, patch, writer)
        told = [] if info.subresource else warnings_of(stored_kind(kind), done.obj)
        return respond(shaped(self.state, chosen, done.obj), 201 if done.created else 200, (*done.warnings, *told))

    async def _delete(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        options, dry_run = await self._delete_options(request, who)
        stored = stored_kind(kind)
        obj, gone = await self.registry.deleter.delete(stored, info.namespace, info.name, options, dry_run=dry_run)
        if not gone or kind.plural in _ANSWER_WITH_OBJECT:
            return respond(shaped(self.state, self._chosen(request, info, kind), obj))
        meta = obj["metadata"]
        details = {"name": meta["name"], "group": kind.group, "kind": kind.plural, "uid": meta["uid"]}
        return respond(success({key: value for key, value in details.items() if value}))

    async def _delete_options(self, request: web.BaseRequest, who: Identity) -> tuple[Object, bool]:
        """From the body and, as older clients say it, the query."""
        options = await read_options(request)
        query = request.query
        if query.get("propagationPolicy"):
            options["propagationPolicy"] = query["propagationPolicy"]
        if query.get("gracePeriodSeconds"):
            try:
                options["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
            except ValueError:
                raise bad_request(f"gracePeriodSeconds: not a number: {query['gracePeriodSeconds']!r}") from None
        if query.get("orphanDependents"):
            options["orphanDependents"] = flag(query, "orphanDependents")
        return options, writer_of(request, who).dry_run or "All" in (options.get("dryRun") or ())

    async def _delete_collection(
        self, request: web.BaseRequest, info: RequestInfo, kind: Kind, who: Identity
    ) -> web.StreamResponse:
        options, dry_run = await self._delete_options(request, who)
        page = list_page(self.state, self._chosen(request, info, kind), list_wanted(request.query))
        keys = [record.key.rpartition("/")[::2] for record in page.records]
        writer = Writer(who, "", dry_run)
        deleted = await self.registry.deleter.delete_all(stored_kind(kind), keys, options, writer)
        meta = {"resourceVersion": str(self.state.storage.revision)}
        return respond({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": deleted})
