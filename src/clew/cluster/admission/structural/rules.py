"""Whether a schema is structural: every field has a type, and logic (allOf, anyOf, oneOf, not) only restricts.

Source of rules and texts: k8s.io/apiextensions-apiserver pkg/apiserver/schema/validation.go.
"""

import re
from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission.field_errors import FieldError, forbidden, invalid, required, unsupported
from clew.cluster.admission.structural.values import value_errors

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES = ("atomic", "map", "set")
_ANY = "x-kubernetes-int-or-string"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_STRUCTURE = {  # what only the structure may say, and what it has to be elsewhere
    **dict.fromkeys(
        ("description", "title", "type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"), "empty"
    ),
    **dict.fromkeys(("nullable", _PRESERVE, _ANY, "x-kubernetes-embedded-resource"), "false"),
    **dict.fromkeys(
        ("additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type"), "undefined"
    ),
}
_UNSUPPORTED = ("$ref", "definitions", "dependencies", "deprecated", "id", "patternProperties", "readOnly", "xml")


def structural_errors(schema: Object, at: str) -> Iterator[FieldError]:
    """Everything that keeps a version's openAPIV3Schema from being structural."""
    kind = schema.get("type")
    if not kind:
        yield required(f"{at}.type", "must not be empty at the root")
    elif kind != "object":
        yield invalid(f"{at}.type", kind, "must be object at the root")
    if schema.get("additionalProperties"):
        yield forbidden(f"{at}.additionalProperties", "must not be used at the root")
    described = set((schema.get("properties") or {}).get("metadata", {}).get("properties") or {})
    if described - {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(f"{at}.properties[metadata]", text)
    yield from _schema(schema, at)


def _schema(schema: Object, at: str) -> Iterator[FieldError]:
    for word in _UNSUPPORTED:
        if schema.get(word):
            yield forbidden(f"{at}.{word}", f"{word} is not supported")
    yield from _extensions(schema, at)
    yield from _words(schema, at)
    properties, extra, items = schema.get("properties") or {}, schema.get("additionalProperties"), schema.get("items")
    if properties and extra is not None:
        yield forbidden(f"{at}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if extra is False:
        yield forbidden(f"{at}.additionalProperties", "additionalProperties cannot be set to false")
    for name, inner in properties.items():
        yield from _typed(inner, f"{at}.properties[{name}]", "object fields")
    if isinstance(extra, dict):
        yield from _typed(extra, f"{at}.additionalProperties", "object fields")
    if isinstance(items, dict):
        yield from _typed(items, f"{at}.items", "array items")
    elif schema.get("type") == "array":
        yield required(f"{at}.items", "must be specified")
    for where, part in _parts(schema):
        yield from _logic(part, schema, f"{at}.{where}", at)
    if "default" in schema:
        yield from _default(schema, at)


def _parts(schema: Object) -> Iterator[tuple[str, Object]]:
    for word in ("allOf", "anyOf", "oneOf"):
        for index, part in enumerate(schema.get(word) or []):
            yield f"{word}[{index}]", part
    if isinstance(schema.get("not"), dict):
        yield "not", schema["not"]


def _typed(schema: Object, at: str, what: str) -> Iterator[FieldError]:
    if not schema.get("type") and not schema.get(_ANY) and not schema.get(_PRESERVE):
        yield required(f"{at}.type", f"must not be empty for specified {what}")
    yield from _schema(schema, at)


def _extensions(schema: Object, at: str) -> Iterator[FieldError]:
    kind = schema.get("type")
    if kind and kind not in _TYPES:
        yield unsupported(f"{at}.type", kind, _TYPES)
    if schema.get(_PRESERVE) is False:
        yield invalid(f"{at}.{_PRESERVE}", value=False, detail="must be true or undefined")
    if schema.get(_ANY) and kind:
        yield forbidden(f"{at}.type", f"must be empty if {_ANY} is true")
    if schema.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            yield invalid(f"{at}.type", kind or "", "must be object if x-kubernetes-embedded-resource is true")
        if not schema.get("properties") and not schema.get(_PRESERVE):
            text = f"must not be empty if x-kubernetes-embedded-resource is true without {_PRESERVE}"
            yield required(f"{at}.properties", text)
    yield from _list_type(schema, at)


def _list_type(schema: Object, at: str) -> Iterator[FieldError]:
    name, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if name is None:
        if keys:
            yield required(f"{at}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty")
        return
    if name not in _LIST_TYPES:
        yield unsupported(f"{at}.x-kubernetes-list-type", name, _LIST_TYPES)
    if schema.get("type") != "array":
        yield invalid(f"{at}.type", schema.get("type") or "", "must be array if x-kubernetes-list-type is specified")
    if name != "map":
        return
    if not keys:
        yield required(f"{at}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items") or {}
    for key in keys:
        inner = (items.get("properties") or {}).get(key)
        here = f"{at}.items.properties[{key}]"
        if inner is None:
            yield invalid(f"{at}.x-kubernetes-list-map-keys", key, "entries must all be names of item properties")
        elif key not in (items.get("required") or []) and "default" not in inner:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{here}.default", text)


def _words(schema: Object, at: str) -> Iterator[FieldError]:
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{at}.uniqueItems", text)
    pattern = schema.get("pattern")
    if pattern:
        try:
            re.compile(pattern)
        except re.error as wrong:
            yield invalid(f"{at}.pattern", pattern, f"must be a valid regular expression, but isn't: {wrong}")


def _logic(part: Object, whole: Object, at: str, outside: str) -> Iterator[FieldError]:
    """A part of the logic restricts what the structure outside of it has."""
    for word, wanted in _STRUCTURE.items():
        if word in part and not (word in ("type", _ANY) and whole.get(_ANY)):
            yield forbidden(f"{at}.{word}", f"must be {wanted} to be structural")
    for name, inner in (part.get("properties") or {}).items():
        below = (whole.get("properties") or {}).get(name)
        if below is None:
            here = f"{at}.properties[{name}]"
            yield required(f"{outside}.properties[{name}]", f"because it is defined in {here}")
        else:
            yield from _logic(inner, below, f"{at}.properties[{name}]", f"{outside}.properties[{name}]")
    if isinstance(part.get("items"), dict):
        if not isinstance(whole.get("items"), dict):
            yield required(f"{outside}.items", f"because it is defined in {at}.items")
        else:
            yield from _logic(part["items"], whole["items"], f"{at}.items", f"{outside}.items")
    for where, inner in _parts(part):
        yield from _logic(inner, whole, f"{at}.{where}", outside)


def _default(schema: Object, at: str) -> Iterator[FieldError]:
    value: Any = schema["default"]
    if value is None and schema.get("nullable"):
        return
    for problem in value_errors(schema, value, ""):
        yield invalid(f"{at}.default{problem.field}", value, problem.detail or str(problem).removeprefix(": "))
