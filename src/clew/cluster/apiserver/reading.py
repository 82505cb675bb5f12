"""GET: one object or a list, as JSON, as a Table or as metadata only, with selectors, pages and revisions."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from clew.api.kinds import Kind
from clew.api.objects import Object, labels
from clew.api.selectors import FieldSelector, LabelSelector, SelectorError
from clew.base.value import Value
from clew.cluster import tables
from clew.cluster.admission import FieldError
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, gone, invalid_options, too_new
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


def list_page(state: State, chosen: Selection, query: Mapping[str, str]) -> Page:
    """The matching records; 410 where a past state is asked for that is compacted, 504 for a future one."""
    limit = whole_number(query, "limit")
    collection = state.storage.collection(storage_name(chosen.kind))
    revision, after = state.storage.revision, ""
    if query.get("continue"):
        revision, after = _read_token(query["continue"])
    _check_versions(query)
    asked = whole_number(query, "resourceVersion")
    if asked > state.storage.revision:
        raise too_new(asked, state.storage.revision)
    if asked and query.get("resourceVersionMatch") == "Exact":
        revision = asked
    return _page(_as_of(collection, revision, bool(after)), chosen, revision, limit, after)


def _check_versions(query: Mapping[str, str]) -> None:
    match = query.get("resourceVersionMatch", "")
    if not match:
        return
    why = ""
    if query.get("continue"):
        why = "resourceVersionMatch is forbidden when continue is provided"
    elif not query.get("resourceVersion"):
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match == "Exact" and query.get("resourceVersion") == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    if why:
        raise invalid_options("ListOptions", [FieldError("resourceVersionMatch", "FieldValueForbidden", None, why)])
    if match not in {"Exact", "NotOlderThan"}:
        known = 'supported values: "Exact", "NotOlderThan"'
        wrong = FieldError("resourceVersionMatch", "FieldValueNotSupported", match, known)
        raise invalid_options("ListOptions", [wrong])


def _as_of(collection: Collection, revision: int, paging: bool) -> Collection:  # noqa: FBT001 - private, one caller
    try:
        return collection.at(revision)
    except Compacted as old:
        text = f"The resourceVersion for the provided list is too old: {old}"
        if paging:
            text = (
                "The provided continue parameter is too old to display a consistent list result. You must start a new"
                " list without the continue parameter."
            )
        raise gone(text) from None


def _page(collection: Collection, chosen: Selection, revision: int, limit: int, after: str) -> Page:
    found: list[Record] = []
    matching = _matching(chosen, collection.scan(chosen.prefix, after))
    for record in matching:
        if limit and len(found) == limit:
            rest = 1 + sum(1 for _ in matching) if chosen.everything else None
            return Page(tuple(found), revision, _write_token(revision, found[-1].key), rest)
        found.append(record)
    return Page(tuple(found), revision)


def _matching(chosen: Selection, records: Iterator[Record]) -> Iterator[Record]:
    return records if chosen.everything else (record for record in records if chosen.takes(record))


def whole_number(query: Mapping[str, str], name: str) -> int:
    value = query.get(name) or "0"
    if not value.isdecimal():
        raise bad_request(f'{name}: Invalid value: "{value}": must be a whole number')
    return int(value)


def _write_token(revision: int, key: str) -> str:
    made = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": revision, "start": key})
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        data = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(data["rv"]), str(data["start"])
    except (ValueError, KeyError, TypeError):
        raise bad_request("continue key is not valid: it is not one that this server gave") from None


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
