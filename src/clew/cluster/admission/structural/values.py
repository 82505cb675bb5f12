"""Objects of custom kinds held against their schema.

Source of the texts: k8s.io/kube-openapi pkg/validation, as apiextensions-apiserver prints them.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from clew.api.objects import Object
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    invalid,
    required,
    too_long,
    too_many,
)
from clew.cluster.admission.structural.before import NEW, Before, of_field, of_item
from clew.cluster.admission.structural.formats import fits_format

_IDENTITY = frozenset({"apiVersion", "kind", "metadata"})
_EMBEDDED = "x-kubernetes-embedded-resource"
_ANY = "x-kubernetes-int-or-string"


def schema_errors(schema: Object, obj: Object, was: Before = NEW) -> Iterator[FieldError]:
    """Everything in an object that its version's schema refuses; metadata is judged elsewhere.

    What did not change is not judged again (KEP-4008): a schema that became stricter does not trap old objects.
    """
    body = {name: value for name, value in obj.items() if name not in _IDENTITY}
    whole = {name: inner for name, inner in (schema.get("properties") or {}).items() if name not in _IDENTITY}
    wanted = [name for name in schema.get("required") or () if name not in _IDENTITY]
    yield from value_errors({**schema, "type": "object", "properties": whole, "required": wanted}, body, "", was)


def value_errors(schema: Object, value: Any, at: str, was: Before = NEW) -> Iterator[FieldError]:
    """Everything in one value; `at` is its path, "" for the object itself."""
    if was.same:
        return
    if value is None and (schema.get("nullable") or not schema.get("type")):
        return
    given = _type_of(value)
    if not _fits(schema, given, value):
        wanted = "integer,string" if schema.get(_ANY) else schema.get("type")
        text = f'{at or "<nil>"} in body must be of type {wanted}: "{given}"'
        yield FieldError(at, "FieldValueTypeInvalid", given, text)
        return
    known = schema.get("enum")
    if known and value not in known:
        listed = ", ".join(f'"{each if isinstance(each, str) else _text(each)}"' for each in known)
        yield FieldError(at, "FieldValueNotSupported", value, f"supported values: {listed}")  # in the schema's order
    if isinstance(value, dict):
        yield from _object(schema, value, at, was)
    elif isinstance(value, list):
        yield from _list(schema, value, at, was)
    elif isinstance(value, str):
        yield from _string(schema, value, at)
    elif not isinstance(value, bool) and value is not None:
        yield from _number(schema, value, at)
    yield from _logic(schema, value, at)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(schema: Object, given: str, value: Any) -> bool:
    if schema.get(_ANY):
        return given in ("integer", "string")
    wanted = schema.get("type")
    if not wanted or wanted == given:
        return True
    if wanted == "number":
        return given == "integer"
    return wanted == "integer" and isinstance(value, float) and value.is_integer()


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _object(schema: Object, value: Object, at: str, was: Before) -> Iterator[FieldError]:
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in schema.get("required") or ():
        if name not in value:
            yield required(_below(at, name))
    for name, item in value.items():
        inner = properties.get(name)
        if inner is None and isinstance(extra, dict):
            inner = extra
        if inner is not None:
            yield from value_errors(inner, item, _below(at, name), of_field(schema, name, item, was))
    if schema.get(_EMBEDDED):
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                yield required(_below(at, name), "must not be empty")
    least, most = schema.get("minProperties", 0), schema.get("maxProperties")
    if len(value) < least:
        yield invalid(at, len(value), f"{at} in body should have at least {least} properties")
    if most is not None and len(value) > most:
        yield too_many(at, len(value), most)


def _list(schema: Object, value: list[Any], at: str, was: Before) -> Iterator[FieldError]:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least:
        yield invalid(at, len(value), f"{at} in body should have at least {least} items")
    if most is not None and len(value) > most:
        yield too_many(at, len(value), most)
    items = schema.get("items") or {}
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    seen: set[str] = set()
    for index, item in enumerate(value):
        here = f"{at}[{index}]"
        yield from value_errors(items, item, here, of_item(schema, item, index, was))
        if kind not in ("map", "set"):
            continue
        identity = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
        text = msgspec.json.encode(identity, order="sorted").decode()
        if text in seen:
            yield duplicate(here, identity)
        seen.add(text)


@functools.lru_cache(maxsize=512)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _string(schema: Object, value: str, at: str) -> Iterator[FieldError]:
    pattern = schema.get("pattern")
    if pattern and not _pattern(pattern).search(value):
        yield invalid(at, value, f"{at} in body should match '{pattern}'")
    most, least = schema.get("maxLength"), schema.get("minLength", 0)
    if most is not None and len(value) > most:
        yield too_long(at, most)
    if len(value) < least:
        yield invalid(at, value, f"{at} in body should be at least {least} chars long")
    name = schema.get("format")
    if name and not fits_format(name, value):
        yield invalid(at, value, f'{at} in body must be of type {name}: "{value}"')


def _number(schema: Object, value: float, at: str) -> Iterator[FieldError]:
    least, most, factor = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid(at, value, f"{at} in body should be {words} {least}")
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield invalid(at, value, f"{at} in body should be {words} {most}")
    if factor and value % factor:
        yield invalid(at, value, f"{at} in body should be a multiple of {factor}")
    bits = {"int32": 32, "int64": 64}.get(schema.get("format", ""))
    if bits and not -(1 << bits - 1) <= value < 1 << bits - 1:
        yield invalid(at, value, f"{at} in body must be of type {schema['format']}: {_text(value)}")


def _logic(schema: Object, value: Any, at: str) -> Iterator[FieldError]:
    def holds(part: Object) -> bool:
        return next(value_errors(part, value, at), None) is None

    title = f'"{at}"'
    for part in schema.get("allOf") or ():
        problems = list(value_errors(part, value, at))
        yield from problems
        if problems:
            yield invalid(at, value, f"{title} must validate all the schemas (allOf)")
    anything, exactly = schema.get("anyOf"), schema.get("oneOf")
    if anything and not any(map(holds, anything)):
        yield invalid(at, value, f"{title} must validate at least one schema (anyOf)")
    if exactly:
        count = sum(map(holds, exactly))
        if count != 1:
            found = "none valid" if not count else f"{count} valid alternatives"
            yield invalid(at, value, f"{title} must validate one and only one schema (oneOf). Found {found}")
    if isinstance(schema.get("not"), dict) and holds(schema["not"]):
        yield invalid(at, value, f"{title} must not validate the schema (not)")
