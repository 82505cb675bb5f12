"""Structural schemas of CustomResourceDefinitions: drop the unknown, fill defaults, check what is left.

CEL rules (x-kubernetes-validations) are kept and shown but not evaluated.
"""

import re
from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object, clone
from clew.cluster.admission.field_errors import FieldError, duplicate, invalid, required, unsupported

_ALWAYS = {"apiVersion", "kind", "metadata"}
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def prune_by_schema(schema: Object, obj: Any, *, root: bool = True) -> None:
    """Remove fields that the schema does not name, in place."""
    if isinstance(obj, list):
        for item in obj:
            prune_by_schema(schema.get("items") or {}, item, root=False)
        return
    if not isinstance(obj, dict):
        return
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    keep = schema.get(_PRESERVE) or bool(extra) or not schema
    for field in list(obj):
        if field in properties:
            prune_by_schema(
                properties[field], obj[field], root=bool(properties[field].get("x-kubernetes-embedded-resource"))
            )
        elif root and field in _ALWAYS:
            continue
        elif not keep:
            del obj[field]
        elif isinstance(extra, dict):
            prune_by_schema(extra, obj[field], root=False)


def default_by_schema(schema: Object, obj: Any) -> None:
    """Fill the schema's defaults, in place."""
    if isinstance(obj, list):
        for item in obj:
            default_by_schema(schema.get("items") or {}, item)
    elif isinstance(obj, dict):
        for field, inner in (schema.get("properties") or {}).items():
            if field not in obj and "default" in inner:
                obj[field] = clone(inner["default"])
            if field in obj:
                default_by_schema(inner, obj[field])


def schema_errors(schema: Object, obj: Object) -> Iterator[FieldError]:
    """Everything in the object that its schema refuses."""
    for field, inner in (schema.get("properties") or {}).items():
        if field in obj and field not in _ALWAYS:
            yield from _value(inner, obj[field], field)
    for field in schema.get("required") or ():
        if field not in obj:
            yield required(field)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,),
    "integer": (int,), "number": (int, float), "boolean": (bool,),
}  # fmt: skip


def _fits(schema: Object, value: Any) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    wanted = schema.get("type")
    if not wanted:
        return True
    if isinstance(value, bool) and wanted != "boolean":
        return False
    return isinstance(value, _TYPES.get(wanted, (object,)))


def _value(schema: Object, value: Any, at: str) -> Iterator[FieldError]:
    if value is None and schema.get("nullable"):
        return
    if not _fits(schema, value):
        got = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}.get(type(value), "number")
        yield invalid(at, got, f'{at} in body must be of type {schema.get("type")}: "{got}"')
        return
    if schema.get("enum") and value not in schema["enum"]:
        yield unsupported(at, value, [str(each) for each in schema["enum"]])
    match value:
        case dict():
            yield from _object(schema, value, at)
        case list():
            yield from _list(schema, value, at)
        case str():
            yield from _text(schema, value, at)
        case int() | float():
            yield from _number(schema, value, at)
    yield from _combined(schema, value, at)


def _object(schema: Object, value: Object, at: str) -> Iterator[FieldError]:
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for field in schema.get("required") or ():
        if field not in value:
            yield required(f"{at}.{field}")
    for field, item in value.items():
        inner = properties.get(field, extra if isinstance(extra, dict) else None)
        if inner is not None:
            yield from _value(inner, item, f"{at}.{field}")


def _list(schema: Object, value: list[Any], at: str) -> Iterator[FieldError]:
    if len(value) > schema.get("maxItems", len(value)):
        yield FieldError(at, "FieldValueTooLong", None, f"must have at most {schema['maxItems']} items")
    if len(value) < schema.get("minItems", 0):
        yield invalid(at, len(value), f"{at} in body should have at least {schema['minItems']} items")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    seen: list[Any] = []
    for index, item in enumerate(value):
        yield from _value(schema.get("items") or {}, item, f"{at}[{index}]")
        identity = [item.get(key) for key in keys] if keys and isinstance(item, dict) else item
        if (keys or schema.get("x-kubernetes-list-type") == "set") and identity in seen:
            yield duplicate(f"{at}[{index}]", item)
        seen.append(identity)


def _text(schema: Object, value: str, at: str) -> Iterator[FieldError]:
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield invalid(at, value, f"{at} in body should match '{schema['pattern']}'")
    if len(value) > schema.get("maxLength", len(value)):
        yield FieldError(at, "FieldValueTooLong", None, f"may not be more than {schema['maxLength']} bytes")
    if len(value) < schema.get("minLength", 0):
        yield invalid(at, value, f"{at} in body should be at least {schema['minLength']} chars long")


def _number(schema: Object, value: float, at: str) -> Iterator[FieldError]:
    if "minimum" in schema and value < schema["minimum"]:
        yield invalid(at, value, f"{at} in body should be greater than or equal to {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        yield invalid(at, value, f"{at} in body should be less than or equal to {schema['maximum']}")


def _combined(schema: Object, value: Any, at: str) -> Iterator[FieldError]:
    def holds(part: Object) -> bool:
        return next(_value(part, value, at), None) is None

    for part in schema.get("allOf") or ():
        yield from _value(part, value, at)
    if schema.get("anyOf") and not any(map(holds, schema["anyOf"])):
        yield invalid(at, value, f"{at} in body must validate at least one schema (anyOf)")
    if schema.get("oneOf") and sum(map(holds, schema["oneOf"])) != 1:
        yield invalid(at, value, f"{at} in body must validate one and only one schema (oneOf)")
    if "not" in schema and holds(schema["not"]):
        yield invalid(at, value, f"{at} in body must not validate the schema (not)")
