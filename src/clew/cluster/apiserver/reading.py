"""GET: one object or a list, as JSON, as a Table or as metadata only, with selectors and pages."""

import base64
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from clew.api.kinds import EVENTS_EVENT, Kind
from clew.api.objects import Object, labels
from clew.api.selectors import FieldSelector, LabelSelector, SelectorError
from clew.base.value import Value
from clew.cluster import tables
from clew.cluster.apiserver.catalog import storage_name
from clew.cluster.apiserver.errors import bad_request, gone
from clew.cluster.apiserver.registry import read_event
from clew.cluster.apiserver.state import State
from clew.cluster.storage import Compacted, Record

Form = Literal["object", "table", "partial"]


class Selection(Value):
    """What a list or a watch is about."""

    kind: Kind
    namespace: str
    labels: LabelSelector | None
    fields: FieldSelector | None
    form: Form = "object"
    include: str = "Metadata"

    @property
    def prefix(self) -> str:
        return f"{self.namespace}/" if self.namespace and self.kind.namespaced else ""

    @property
    def everything(self) -> bool:
        return self.labels is None and self.fields is None

    def takes(self, obj: Object) -> bool:
        if self.labels is not None and not self.labels.matches(labels(obj)):
            return False
        return self.fields is None or self.fields.matches(obj)


def form_of(accept: str) -> Form:
    """What the first acceptable media type asks for."""
    for part in accept.split(","):
        parameters = {each.strip() for each in part.split(";")}
        if "application/json" not in parameters and "*/*" not in parameters:
            continue
        if "as=Table" in parameters:
            if "v=v1" in parameters:
                return "table"
            continue
        if "as=PartialObjectMetadata" in parameters or "as=PartialObjectMetadataList" in parameters:
            return "partial"
        return "object"
    return "object"


def selection(kind: Kind, namespace: str, query: Any, accept: str) -> Selection:
    """From a request's query; 400 for selectors that cannot be read."""
    try:
        by_label = LabelSelector.parse(query["labelSelector"]) if query.get("labelSelector") else None
        by_field = FieldSelector.parse(query["fieldSelector"]) if query.get("fieldSelector") else None
    except SelectorError as wrong:
        raise bad_request(f"unable to parse requirement: {wrong}") from None
    if by_field is not None:
        unknown = by_field.unsupported(kind)
        if unknown:
            raise bad_request(f"field label not supported: {unknown}")
    return Selection(kind, namespace, by_label, by_field, form_of(accept), query.get("includeObject") or "Metadata")


def partial(obj: Object) -> Object:
    return {
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata", {}),
    }  # fmt: skip


def shaped(state: State, chosen: Selection, obj: Object) -> Object:
    """One object as the client wants it."""
    obj = read_event(chosen.kind, obj)
    if chosen.form == "table":
        return as_table(state, chosen, [obj])
    return partial(obj) if chosen.form == "partial" else obj


def as_table(state: State, chosen: Selection, objects: list[Object]) -> Object:
    custom = state.catalog.custom(chosen.kind)
    columns = custom[1].get("additionalPrinterColumns") if custom else None
    include: Any = chosen.include
    return tables.table(chosen.kind, objects, include, state.clock.now(), columns)


class Page(Value):
    """A list's answer."""

    records: tuple[Any, ...]
    revision: int
    token: str = ""
    remaining: int | None = None


def list_page(state: State, chosen: Selection, limit: int, token: str) -> Page:
    """Up to `limit` matching records (0: all); 410 where the token's revision is compacted."""
    collection = state.storage.collection(storage_name(chosen.kind))
    revision, after = state.storage.revision, ""
    if token:
        revision, after = _read_token(token)
        try:
            collection = collection.at(revision)
        except Compacted as old:
            raise gone(
                f"The provided continue parameter is too old to display a consistent list result: {old}"
            ) from None
    found: list[Record] = []
    last = ""
    matching = _matching(chosen, collection.scan(chosen.prefix, after))
    for record in matching:
        if limit and len(found) == limit:
            rest = sum(1 for _ in matching) + 1 if chosen.everything else None
            return Page(tuple(found), revision, _write_token(revision, last), rest)
        found.append(record)
        last = record.key
    return Page(tuple(found), revision)


def _matching(chosen: Selection, records: Iterator[Record]) -> Iterator[Record]:
    for record in records:
        if chosen.everything or chosen.takes(record.view(_selected_fields)):
            yield record


def _selected_fields(obj: Object) -> Object:
    """What selectors look at; remembered with the record."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    cut: Object = {"metadata": {key: obj["metadata"].get(key) for key in ("name", "namespace", "labels")}}
    cut["spec"] = {
        key: spec[key]
        for key in ("nodeName", "restartPolicy", "schedulerName", "serviceAccountName", "unschedulable", "hostNetwork")
        if key in spec
    }
    cut["status"] = {
        key: status[key] for key in ("phase", "podIP", "podIPs", "nominatedNodeName", "replicas") if key in status
    }
    for key in ("involvedObject", "regarding", "reason", "reportingComponent", "reportingController", "source", "type"):
        if key in obj:
            cut[key] = obj[key]
    return cut


def _write_token(revision: int, key: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode({"rv": revision, "start": key})).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        data = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(data["rv"]), str(data["start"])
    except (ValueError, KeyError, TypeError):
        raise bad_request("continue key is not valid: it is not one that this server gave") from None


def encode_list(state: State, chosen: Selection, page: Page) -> bytes:
    """The list's JSON. Plain lists are joined from the stored bytes."""
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.token:
        meta["continue"] = page.token
        if page.remaining is not None:
            meta["remainingItemCount"] = page.remaining
    if chosen.form == "table":
        table = as_table(state, chosen, [read_event(chosen.kind, record.decode()) for record in page.records])
        table["metadata"] = meta
        return msgspec.json.encode(table)
    if chosen.form == "partial":
        listed = [partial(record.decode()) for record in page.records]
        head: Object = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return msgspec.json.encode(head | {"items": listed})
    head = {"kind": f"{chosen.kind.kind}List", "apiVersion": chosen.kind.api_version, "metadata": meta}
    if chosen.kind == EVENTS_EVENT:
        return msgspec.json.encode(head | {"items": [read_event(chosen.kind, each.decode()) for each in page.records]})
    joined = b",".join(record.raw for record in page.records)
    return msgspec.json.encode(head)[:-1] + b',"items":[' + joined + b"]}"
