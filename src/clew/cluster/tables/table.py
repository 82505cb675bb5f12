"""Objects to a meta.k8s.io/v1 Table (KEP: server-side printing)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.tables.columns import NAME, Cells, Column, name, since
from clew.cluster.tables.jsonpath import first
from clew.cluster.tables.kinds import DEFAULT, PRINTERS

Include = Literal["None", "Metadata", "Object"]


def table(
    kind: Kind, objects: Sequence[Object], include: Include, now: datetime, crd_columns: Sequence[Object] | None = None
) -> Object:
    """`include` decides what each row carries of its object; `crd_columns` are additionalPrinterColumns."""
    columns, cells = _custom(crd_columns) if crd_columns else PRINTERS.get(kind, DEFAULT)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": objects[0]["metadata"].get("resourceVersion", "") if len(objects) == 1 else ""},
        "columnDefinitions": [msgspec.structs.asdict(column) for column in columns],
        "rows": [_row(obj, cells(obj, now), include) for obj in objects],
    }


def _row(obj: Object, cells: list[Any], include: Include) -> Object:
    row: Object = {"cells": cells}
    if include == "Object":
        row["object"] = obj
    elif include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"],
        }  # fmt: skip
    return row


def _custom(given: Sequence[Object]) -> tuple[tuple[Column, ...], Cells]:
    """The columns that a CustomResourceDefinition names; the name always stands first."""
    made = [
        Column(
            each["name"],
            each.get("type", "string"),
            each.get("format", ""),
            each.get("priority", 0),
            each.get("description", ""),
        )
        for each in given
    ]

    def cells(obj: Object, now: datetime) -> list[Any]:
        return [name(obj), *(_cell(obj, each, now) for each in given)]

    return (NAME, *made), cells


def _cell(obj: Object, column: Object, now: datetime) -> Any:
    """A value that is not of the column's type leaves the cell empty, as on the real server."""
    value = first(obj, column.get("jsonPath", ""))
    match column.get("type"):
        case "date":
            return _since(value, now)
        case "integer":
            return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _since(value: Any, now: datetime) -> str | None:
    if value is None:
        return None
    try:
        return since(str(value), now)
    except ValueError:
        return "<invalid>"
