"""GET: one object or a list, as JSON, as a Table or as metadata only, with selectors, pages and revisions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from clew.api.kinds import Kind
from clew.api.objects import Object, labels
from clew.api.selectors import FieldSelector, LabelSelector, SelectorError
from clew.base.value import Value
from clew.cluster import tables
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, gone, too_new
from clew.cluster.apiserver.list_options import ANY_VERSION, ListWanted, write_token
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.versions import as_stored, outward
from clew.cluster.storage import Collection, Compacted, Record

Form = Literal["object", "table", "partial"]
_JSON = {"application/json", "application/*", "*/*"}
_SELECTABLE = {
    "spec": ("nodeName", "restartPolicy", "schedulerName", "serviceAccountName", "unschedulable", "hostNetwork",
             "clusterIP", "type"),
    "status": ("phase", "podIP", "podIPs", "nominatedNodeName", "replicas"),
}  # fmt: skip
_SELECTABLE_TOP = ("involvedObject", "reason", "reportingComponent", "source", "type")
_OLD_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without"
    " the continue parameter, or use the continue token in this response to retrieve the remainder of the results."
    " Continuing with the provided token results in an inconsistent list - objects that were created, modified, or"
    " deleted between the time the first chunk was returned and now may show up in the list."
)


class Selection(Value):
    """What a list or a watch is about, and in which form."""

    kind: Kind
    namespace: str
    labels: LabelSelector | None
    fields: FieldSelector | None
    form: Form = "object"
    include: Literal["None", "Metadata", "Object"] = "Metadata"
    custom: bool = False

    @property
    def prefix(self) -> str:
        return f"{self.namespace}/" if self.namespace and self.kind.namespaced else ""

    @property
    def everything(self) -> bool:
        return self.labels is None and self.fields is None

    def takes(self, record: Record) -> bool:
        """Whether a record of the right namespace is selected."""
        if self.everything:
            return True
        view = record.view(_whole if self.custom else _cut)
        if self.labels is not None and not self.labels.matches(labels(view)):
            return False
        return self.fields is None or self.fields.matches(view)


def _whole(obj: Object) -> Object:
    return obj


def _cut(obj: Object) -> Object:
    """What the selectors of built-in kinds look at; remembered with the record."""
    meta = obj["metadata"]
    cut: Object = {"metadata": {key: meta[key] for key in ("name", "namespace", "labels") if key in meta}}
    for part, fields in _SELECTABLE.items():
        inner = obj.get(part)
        if isinstance(inner, dict):
            cut[part] = {key: inner[key] for key in fields if key in inner}
    for key in _SELECTABLE_TOP:
        if key in obj:
            cut[key] = obj[key]
    if "involvedObject" in obj:  # as events.k8s.io names them
        cut["regarding"], cut["reportingController"] = obj["involvedObject"], obj.get("reportingComponent")
    return cut


def form_of(accept: str) -> Form:
    """What the first acceptable media type asks for; 406 where there is none that is served."""
    if not accept:
        return "object"
    for part in accept.split(","):
        media, *rest = (each.strip() for each in part.split(";"))
        if media not in _JSON:
            continue
        parameters = dict(each.partition("=")[::2] for each in rest)
        wanted = parameters.get("as", "")
        if not wanted:
            return "object"
        if parameters.get("v", "v1") != "v1":
            continue
        if wanted == "Table":
            return "table"
        if wanted.startswith("PartialObjectMetadata"):
            return "partial"
    text = "only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io"
    raise ApiRefusal(406, "NotAcceptable", text, {})


def selection(state: State, kind: Kind, namespace: str, query: Mapping[str, str], accept: str) -> Selection:
    """From a request's query; 400 for selectors that cannot be read or that the kind does not offer."""
    by_label, by_field = query.get("labelSelector", ""), query.get("fieldSelector", "")
    try:
        labelled = LabelSelector.parse(by_label) if by_label else None
        fielded = FieldSelector.parse(by_field) if by_field else None
    except SelectorError as wrong:
        text = str(wrong)
        raise bad_request(
            text if text.startswith(("unable", "invalid")) else f"unable to parse requirement: {text}"
        ) from None
    custom = state.catalog.custom(kind)
    if fielded is not None:
        unknown = fielded.unsupported(kind, custom.selectable if custom else frozenset())
        if unknown:
            raise bad_request(f"field label not supported: {unknown}")  # kubectl itself says for which selector
    include: Any = query.get("includeObject") or "Metadata"
    return Selection(kind, namespace, labelled, fielded, form_of(accept), include, custom is not None)


def partial(obj: Object) -> Object:
    return {
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata", {}),
    }  # fmt: skip


def shaped(state: State, chosen: Selection, obj: Object) -> Object:
    """One stored object as the client wants it."""
    obj = outward(state.catalog, chosen.kind, obj)
    if chosen.form == "table":
        return as_table(state, chosen, [obj])
    return partial(obj) if chosen.form == "partial" else obj


def as_table(state: State, chosen: Selection, objects: Sequence[Object]) -> Object:
    custom = state.catalog.custom(chosen.kind)
    columns = custom.columns if custom else None
    return tables.table(chosen.kind, objects, chosen.include, state.clock.now(), columns)


class Page(Value):
    """A list's answer."""

    records: tuple[Any, ...]  # Records, in the order of their keys
    revision: int
    token: str = ""
    remaining: int | None = None


def list_page(state: State, chosen: Selection, wanted: ListWanted) -> Page:
    """The matching records; 410 where a past state is asked for that is compacted, 504 for a future one."""
    newest = state.storage.revision
    if wanted.revision > newest:
        raise too_new(wanted.revision, newest)
    revision = wanted.revision if wanted.exactly and wanted.revision != ANY_VERSION else newest
    collection = _as_of(state.storage.collection(storage_name(chosen.kind)), revision, wanted)
    return _page(collection, chosen, revision, wanted)


def _as_of(collection: Collection, revision: int, wanted: ListWanted) -> Collection:
    try:
        return collection.at(revision)
    except Compacted as old:
        refusal = gone(f"The resourceVersion for the provided list is too old: {old}")
    if wanted.after:
        refusal = gone(_OLD_PAGE)
        refusal.metadata = {"continue": write_token(ANY_VERSION, wanted.after)}
    raise refusal


def _page(collection: Collection, chosen: Selection, revision: int, wanted: ListWanted) -> Page:
    found: list[Record] = []
    matching = _matching(chosen, collection.scan(chosen.prefix, wanted.after))
    for record in matching:
        if wanted.limit and len(found) == wanted.limit:
            rest = 1 + sum(1 for _ in matching) if chosen.everything else None
            return Page(tuple(found), revision, write_token(revision, found[-1].key), rest)
        found.append(record)
    return Page(tuple(found), revision)


def _matching(chosen: Selection, records: Iterator[Record]) -> Iterator[Record]:
    return records if chosen.everything else (record for record in records if chosen.takes(record))


def encode_list(state: State, chosen: Selection, page: Page) -> bytes:
    """The list's JSON. Plain lists are joined from the stored bytes."""
    kind = chosen.kind
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.token:
        meta["continue"] = page.token
        if page.remaining is not None:
            meta["remainingItemCount"] = page.remaining
    if chosen.form == "table":
        table = as_table(state, chosen, [outward(state.catalog, kind, record.decode()) for record in page.records])
        return msgspec.json.encode({**table, "metadata": meta})
    if chosen.form == "partial":
        listed = [partial(outward(state.catalog, kind, record.decode())) for record in page.records]
        head: Object = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return msgspec.json.encode(head | {"items": listed})
    head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta}
    if not as_stored(state.catalog, kind):
        return msgspec.json.encode(
            head | {"items": [outward(state.catalog, kind, record.decode()) for record in page.records]}
        )
    joined = b",".join([record.raw for record in page.records])
    return msgspec.json.encode(head)[:-1] + b',"items":[' + joined + b"]}"
